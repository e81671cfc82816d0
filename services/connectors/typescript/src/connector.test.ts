import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Company } from './company.js';
import { add, isAmount, isZero, negate } from './decimal.js';

const here = (): boolean => true;
const vendor = (key: string, name: string) => ({ key, record: { entity: 'ENTITY_VENDOR' as const, name, lines: [] } });

test('amounts add up to the last digit', () => {
  for (const [a, b, sum] of [
    ['0.1', '0.2', '0.3'], ['', '', '0'], ['-1.50', '1.5', '0'], ['999999999999999999.999999999999', '0.000000000001', '1000000000000000000'],
    ['+16777217.01', '0.07', '16777217.08'], ['-0.01', '', '-0.01'], ['100', '20', '120'],
  ] as const) assert.equal(add(a, b), sum);
  assert.equal(negate('-2.50'), '2.5');
  assert.equal(negate('+2.50'), '-2.5');
  assert.ok(isZero('-0.00') && isAmount(' 12.34 ') && isAmount(''));
  for (const s of ['1e3', '1,000', '.5', 'NaN', '0x10', '1.', '1234567890123456789', '0.1234567890123']) assert.ok(!isAmount(s), s);
});

test('a write that a crash cut off is removed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'connector-'));
  const path = join(folder, 'company-1.jsonl');
  const first = await Company.open(folder, '1');
  const booked = await first.put(vendor('1', 'Acme'), here);
  await first.close();
  const whole = readFileSync(path);
  appendFileSync(path, whole.subarray(0, whole.length / 2));
  const again = await Company.open(folder, '1');
  assert.deepEqual(readFileSync(path), whole);
  assert.equal(JSON.stringify(await again.find({ key: '1' }, here)), JSON.stringify(booked));
  assert.equal(JSON.stringify(await again.put(vendor('2', 'Umbrella'), here)), '{"booking":{"originId":"V-2","originCode":"V-2","lineOriginIds":[]}}');
  await again.close();
  assert.equal(readFileSync(path, 'utf8').split('\n').length, 3);
  rmSync(folder, { recursive: true });
});

test('a journal that is damaged in the middle is refused', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'connector-'));
  writeFileSync(join(folder, 'company-1.jsonl'), '{"rows":[]}\n{"ro\n{"rows":[]}\n');
  await assert.rejects(Company.open(folder, '1'), /line 2 is damaged/);
  rmSync(folder, { recursive: true });
});

test('a call between two commits is answered', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'connector-'));
  const company = await Company.open(folder, '1');
  for (let i = 0; i < 20; i++) {
    await company.find({ key: 'none' }, here);
    await company.put(vendor(`${i}`, `Vendor ${i}`), here);
  }
  await company.close();
  rmSync(folder, { recursive: true });
});

test('a canceled call books nothing', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'connector-'));
  const company = await Company.open(folder, '1');
  await assert.rejects(company.put(vendor('1', 'Acme'), () => false), /nothing was done/);
  assert.deepEqual(await company.find({ key: '1' }, here), {});
  await company.close();
  rmSync(folder, { recursive: true });
});

test('tax and retainage are kept if they are declared, and refused otherwise', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'connector-'));
  const company = await Company.open(folder, '1', 'CAD');
  const cost = (key: string, more: object, line: object) =>
    company.put({ key, record: { entity: 'ENTITY_DIRECT_COST', ...more, lines: [{ amount: '100', ...line }] } }, here);
  await cost('1', { currency: 'CAD' }, { taxAmount: '5.00', taxCodeOriginId: 'GST', retainage: '10' });
  const listed = JSON.stringify(await company.list({ entity: 'ENTITY_DIRECT_COST' }, here));
  for (const kept of ['"taxAmount":"5.00"', '"taxCodeOriginId":"GST"', '"retainage":"10"']) assert.ok(listed.includes(kept), listed);
  await assert.rejects(cost('2', { currency: 'USD' }, {}), /in CAD only/);
  await assert.rejects(cost('3', {}, { taxCodeOriginId: 'GST' }), /no tax amount/);
  await assert.rejects(cost('4', { retainagePercent: '10' }, {}), /only contracts/);
  const payment = { entity: 'ENTITY_PAYMENT' as const, amount: '5', taxAmount: '1', lines: [] };
  await assert.rejects(company.put({ key: '5', record: payment }, here), /has a tax/);
  await company.close();
  rmSync(folder, { recursive: true });
});
