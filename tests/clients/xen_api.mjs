// Drives a host with the public package xen-api as its users do: log in, list all objects, watch
// events, start and stop a guest. Prints one JSON object with what it saw.
//
//   node xen_api.mjs URL USER PASSWORD TRANSPORT VM
import { createClient } from 'xen-api'

const [url, user, password, transport, vm] = process.argv.slice(2)

const xapi = createClient({ url, auth: { user, password }, allowUnauthorized: true, transport,
  debounce: 10 })
const seen = []
xapi.objects.on('update', changed => {
  for (const id in changed) {
    const object = changed[id]
    if (object?.$ref === vm) seen.push(object.power_state)
  }
})

async function until(what, test) {
  const end = Date.now() + 20e3
  while (!test()) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

await xapi.connect()
await xapi.objectsFetched
const types = {}
for (const object of Object.values(xapi.objects.all)) {
  types[object.$type] = (types[object.$type] ?? 0) + 1
}

await xapi.callAsync('VM.start', vm, false, false)
await until('Running', () => xapi.getObject(vm).power_state === 'Running')
const running = await xapi.call('VM.get_power_state', vm)
const record = await xapi.barrier(vm)
await xapi.callAsync('VM.hard_shutdown', vm)
await until('Halted', () => xapi.getObject(vm).power_state === 'Halted')

let error
try {
  await xapi.call('VM.start', 'OpaqueRef:none', false, false)
} catch (e) {
  error = { code: e.code, params: e.params }
}

let failed
try {
  await xapi.callAsync('VM.unpause', vm)
} catch (e) {
  failed = { code: e.code, params: e.params }
}

await xapi.setField('VM', vm, 'name_description', 'set by xen-api')
await xapi.setFieldEntry('VM', vm, 'other_config', 'xen-api', 'was here')
const created = await xapi.callAsync('VM_appliance.create', { name_label: 'by xen-api' })
await xapi.call('VM_appliance.destroy', created)
const pool = xapi.pool.$ref
const left = Object.keys(await xapi.call('task.get_all_records')).length
await xapi.disconnect()
process.stdout.write(JSON.stringify({ types, running, barrier: record.power_state, seen, error,
  failed, created, pool, left }))
process.exit(0)
