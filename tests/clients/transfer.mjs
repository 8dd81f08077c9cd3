// Moves disks and VMs with the public package xen-api, as its users do.
//
//   node transfer.mjs URL USER PASSWORD VM VDI OTHER FOLDER
//
// Fills VDI from FOLDER/d.raw, takes it as a VHD, fills OTHER from that, takes VM as an archive and makes a new one of it. Prints one JSON object.
import { createReadStream, statSync, writeFileSync } from 'node:fs'
import { createClient } from 'xen-api'

const [url, user, password, vm, vdi, other, folder] = process.argv.slice(2)
const xapi = createClient({ url, auth: { user, password }, allowUnauthorized: true, debounce: 10 })

function file(name) {
  const stream = createReadStream(`${folder}/${name}`)
  stream.length = statSync(`${folder}/${name}`).size
  return stream
}

// In one piece: the package's HTTP library trips over the end of an answer without a length when
// its reader is slower than the line.
async function take(path, query, name) {
  const response = await xapi.getResource(path, { query, task: true })
  writeFileSync(`${folder}/${name}`, Buffer.from(await response.body.arrayBuffer()))
}

await xapi.connect()
await xapi.objectsFetched
const filled = await xapi.putResource(file('d.raw'), '/import_raw_vdi/',
  { query: { format: 'raw', vdi }, task: true })
await take('/export_raw_vdi/', { format: 'vhd', vdi }, 'd.vhd')
await xapi.putResource(file('d.vhd'), '/import_raw_vdi/',
  { query: { format: 'vhd', vdi: other }, task: true })
await take('/export/', { ref: vm, use_compression: 'zstd' }, 'vm.xva')
const made = await xapi.putResource(file('vm.xva'), '/import/', { task: true })

let refused
try {
  await xapi.getResource('/export/', { query: { ref: 'OpaqueRef:none' } })
} catch (error) {
  refused = error.response?.statusCode
}
await xapi.disconnect()
process.stdout.write(JSON.stringify({ filled, made, refused }))
process.exit(0)
