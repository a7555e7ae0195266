// Prints, for each file on the command line, what c2pa-ts makes of its signature: one line of JSON.
import { readFile } from 'node:fs/promises';
import { BMFF, JPEG, PNG } from '@trustnxt/c2pa-ts/asset';
import { SuperBox } from '@trustnxt/c2pa-ts/jumbf';
import { ManifestStore } from '@trustnxt/c2pa-ts/manifest';

// It reads films as it reads HEIC, and only asks for the brand of the file.
for (const brand of ['isom', 'iso2', 'mp41', 'mp42', 'qt  ']) BMFF.canReadBrands.add(brand);

for (const name of process.argv.slice(2)) {
    const data = await readFile(name);
    const Kind = [PNG, JPEG, BMFF].find(kind => kind.canRead(data));
    const asset = new Kind(data);
    const box = asset.getManifestJUMBF();
    if (!box) {
        console.log(JSON.stringify({ signed: false }));
        continue;
    }
    const store = ManifestStore.read(SuperBox.fromBuffer(box));
    const result = await store.validate(asset);
    const active = store.getActiveManifest();
    const actions = active.assertions.assertions.flatMap(assertion => assertion.actions ?? []);
    console.log(
        JSON.stringify({
            signed: true,
            valid: result.isValid,
            codes: result.statusEntries.filter(entry => !entry.success).map(entry => entry.code),
            maker: active.claim.claimGeneratorName,
            source: actions.map(action => action.digitalSourceType),
            labels: active.assertions.assertions.map(assertion => assertion.label),
        }),
    );
}
