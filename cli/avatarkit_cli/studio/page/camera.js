// A photo from the webcam.

import { $ } from "./dom.js";

/** Opens the dialog; returns a JPEG as a Blob, or null if the user closed it. */
export async function fromCamera() {
  const dialog = $("camera"), video = dialog.querySelector("video"), shoot = $("shoot"), problem = $("camera-problem");
  let stream = null;
  problem.hidden = true;
  shoot.disabled = true;
  shoot.textContent = "Take it in 3 seconds";
  dialog.showModal();
  const closed = new Promise((done) => dialog.addEventListener("close", () => done(null), { once: true }));
  const shot = (async () => {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 }, height: { ideal: 1440 } } });
      if (!dialog.open) return null;
      video.srcObject = stream;
      await video.play();
    } catch (error) {
      problem.textContent = `The camera did not start: ${error.message}. Choose a photo instead.`;
      problem.hidden = false;
      return closed;
    }
    shoot.disabled = false;
    await Promise.race([closed, new Promise((done) => shoot.addEventListener("click", done, { once: true }))]);
    for (let left = 3; left > 0 && dialog.open; left--) {
      shoot.textContent = `${left} ...`;
      await new Promise((done) => setTimeout(done, 1000));
    }
    if (!dialog.open) return null;
    const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
  })();
  const photo = await Promise.race([shot, closed]);
  if (dialog.open) dialog.close();
  shot.finally(() => {
    stream?.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  });
  return photo;
}

$("camera-close").addEventListener("click", () => $("camera").close());
