// An independent client, Xen Orchestra's, makes a VM in a pool: it logs in,
// imports a disk, clones a template, starts the clone, adds a disk to it, and
// reads errors. What the pool has then is for who started this to see.
//
// Arguments: the pool's URL, the file to import. The user's name and password are
// in the environment: XAPI_USER, XAPI_PASSWORD.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from 'xen-api'

const [url, file] = process.argv.slice(2)
const auth = { user: process.env.XAPI_USER, password: process.env.XAPI_PASSWORD }
const options = { url, transport: 'json-rpc', watchEvents: false, readOnly: false }
const nothing = 'OpaqueRef:NULL'

// await a task without the pool's events, which it does not have.
async function done(x, task) {
  for (;;) {
    const record = await x.call('task.get_record', task)
    if (record.status !== 'pending') {
      await x.call('task.destroy', task)
      return record
    }
    await sleep(10)
  }
}

const refused = (promise, code) => assert.rejects(promise, e => e.code === code)

await refused(createClient({ ...options, auth: { ...auth, password: 'guess' } }).connect(), 'SESSION_AUTHENTICATION_FAILED')

const x = createClient({ ...options, auth })
await x.connect()
const sr = x.pool.default_SR
const image = await readFile(file)

const vdi = await x.call('VDI.create', {
  name_label: 'appliance', SR: sr, virtual_size: image.length, type: 'user', sharable: false, read_only: false, other_config: {},
})
const upload = await x.call('task.create', 'import', '')
await x.putResource(image, '/import_raw_vdi/', { query: { format: 'raw', vdi, task_id: upload } })
assert.equal((await done(x, upload)).status, 'success')

const [media] = await x.call('VM.get_by_name_label', 'Other install media')
const template = await x.call('VM.clone', media, 'appliance')
const device = (VM, VDI, userdevice) => ({
  VM, VDI, userdevice, bootable: userdevice === '0', mode: 'RW', type: 'Disk', empty: false, other_config: {},
  qos_algorithm_type: '', qos_algorithm_params: {},
})
await x.call('VBD.create', device(template, vdi, '0'))

const clone = await done(x, await x.call('Async.VM.clone', template, 'peer'))
assert.equal(clone.status, 'success')
const [, vm] = clone.result.match(/^<value>(OpaqueRef:[0-9a-f-]+)<\/value>$/)
await x.call('VM.provision', vm)
const record = await x.getRecord('VM', vm)
assert.equal(record.is_a_template, false)
assert.equal(record.VBDs.length, 1)
await x.call('VM.start', vm, false, false)

const output = await x.call('VDI.create', {
  name_label: 'output', SR: sr, virtual_size: 8 << 20, type: 'user', sharable: false, read_only: false, other_config: {},
})
const vbd = await x.call('VBD.create', device(vm, output, 'autodetect'))
await x.call('VBD.plug', vbd)
assert.equal(await x.getField('VBD', vbd, 'device'), 'xvdb')

await refused(x.call('VM.start', vm, false, false), 'VM_BAD_POWER_STATE')
await refused(x.call('VM.start', vm), 'MESSAGE_PARAMETER_COUNT_MISMATCH')
await refused(x.call('VDI.destroy', output), 'VDI_IN_USE')
await refused(x.call('VM.get_record', nothing), 'HANDLE_INVALID')
await refused(x.call('VM.frobnicate', vm), 'MESSAGE_METHOD_UNKNOWN')
await x.call('VM.add_to_other_config', vm, 'job', '1')
await refused(x.call('VM.add_to_other_config', vm, 'job', '2'), 'MAP_DUPLICATE_KEY')

await x.disconnect()
