// The process. Its settings are in the environment; they are checked before anything starts.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ServerCredentials } from '@grpc/grpc-js';
import { Connector } from './server.js';

const env = (name: string, otherwise = ''): string => process.env[name] || otherwise;

function read(name: string): Buffer | undefined {
  const path = env(name);
  if (!path) return undefined;
  try {
    return readFileSync(path);
  } catch (err) {
    throw new Error(`${name}: ${err}`);
  }
}

function credentials(): ServerCredentials {
  const cert = read('CONNECTOR_TLS_CERT');
  const key = read('CONNECTOR_TLS_KEY');
  if (!cert && !key) return ServerCredentials.createInsecure();
  if (!cert || !key) throw new Error('CONNECTOR_TLS_CERT and CONNECTOR_TLS_KEY: give both or neither');
  return ServerCredentials.createSsl(null, [{ cert_chain: cert, private_key: key }]);
}

function token(): string | undefined {
  const t = read('CONNECTOR_TOKEN_FILE')?.toString('utf8').trim();
  if (t !== undefined && t.length < 16) throw new Error('CONNECTOR_TOKEN_FILE: a token needs at least 16 characters');
  return t;
}

function currency(): string {
  const c = env('CONNECTOR_CURRENCY', 'USD');
  if (!/^[A-Z]{3}$/.test(c)) throw new Error(`CONNECTOR_CURRENCY: "${c}" is not an ISO code such as USD`);
  return c;
}

async function main(): Promise<void> {
  const connector = new Connector({
    proto: env('CONNECTOR_PROTO', fileURLToPath(new URL('../../../../proto', import.meta.url))),
    data: env('CONNECTOR_DATA', '.data'),
    token: token(),
    rehearsal: env('CONNECTOR_REHEARSAL') === 'on',
    currency: currency(),
  });
  const address = env('CONNECTOR_ADDR', '127.0.0.1:7070');
  const port = await connector.listen(address, credentials());
  console.log(`listening on ${address.replace(/:\d+$/, '')}:${port}`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void connector.stop());
}

main().catch((err: unknown) => {
  console.error(`connector: ${err instanceof Error ? err.message : err}`);
  process.exitCode = 1;
});
