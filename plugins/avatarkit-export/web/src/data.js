// What the page carries: a JSON head and typed arrays, as avatarkit_export/web_data.py writes them.

const TYPES = { u8: Uint8Array, u16: Uint16Array, i16: Int16Array, u32: Uint32Array, f32: Float32Array };

/** Reads the <script> element that holds base64 of gzip of the data. */
export async function readData(element) {
  const text = atob(element.textContent.trim());
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < packed.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return parse(await new Response(stream).arrayBuffer());
}

/** Head and arrays of an ArrayBuffer: u32 length of the head, the head, then the arrays at multiples of four. */
export function parse(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const start = 4 + length;
  const arrays = {};
  for (const [name, { type, offset, count }] of Object.entries(head.arrays)) {
    arrays[name] = new TYPES[type](buffer, start + offset, count);
  }
  return { ...head, arrays };
}
