// The gRPC server: authentication, the companies, and the status of errors.
import { createHash, timingSafeEqual } from 'node:crypto';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { Company, type Caller } from './company.js';
import { entities, isContract, taxed, traits, withholds } from './contract.js';
import { Refusal, Status, toStatus } from './problem.js';

export interface Config {
  proto: string;   // the folder with tieback/v1/connector.proto
  data: string;    // the folder of the books
  token?: string;  // undefined: no authentication
  rehearsal: boolean;
  currency: string; // the companies' own currency, an ISO code
}

type Call = grpc.ServerUnaryCall<{ companyId?: string }, object>;
type Method = (c: Company, q: never, caller: Caller) => object | Promise<object>;

const messageMax = 64 << 20;
const throttledMs = 100;

export class Connector {
  private readonly companies = new Map<string, Promise<Company>>();
  private readonly server = new grpc.Server({ 'grpc.max_receive_message_length': messageMax, 'grpc.max_send_message_length': messageMax });
  private readonly token: Buffer | undefined;

  constructor(private readonly config: Config) {
    this.token = config.token === undefined ? undefined : hash(`Bearer ${config.token}`);
    const loaded = loadSync('tieback/v1/connector.proto', { includeDirs: [config.proto], longs: String, enums: String, bytes: String, arrays: true });
    const service = loaded['tieback.v1.ConnectorService'] as grpc.ServiceDefinition;
    const methods: Record<string, Method> = {
      Capabilities: () => ({ ...capabilities, currency: config.currency }), Put: (c, q, caller) => c.put(q, caller), Find: (c, q, caller) => c.find(q, caller),
      List: (c, q, caller) => c.list(q, caller), State: (c, q, caller) => c.state(q, caller), Remove: (c, q, caller) => c.remove(q, caller),
    };
    this.server.addService(service, Object.fromEntries(Object.entries(methods).map(([name, m]) => [name, this.handler(name, m)])));
  }

  /** listen resolves to the port. */
  listen(address: string, credentials: grpc.ServerCredentials): Promise<number> {
    return new Promise((resolve, reject) => this.server.bindAsync(address, credentials, (err, port) => (err ? reject(err) : resolve(port))));
  }

  /** stop waits for the calls in progress. */
  async stop(): Promise<void> {
    await new Promise((done) => this.server.tryShutdown(done));
    for (const c of this.companies.values()) await (await c).close();
  }

  private handler(name: string, method: Method): grpc.handleUnaryCall<{ companyId?: string }, object> {
    return (call, answer) => {
      this.answer(name, method, call).then((a) => answer(null, a), (err: unknown) => answer(toStatus(err)));
    };
  }

  private async answer(name: string, method: Method, call: Call): Promise<object> {
    this.admit(call);
    const asked = this.config.rehearsal ? call.metadata.get('tieback-rehearsal')[0] : undefined;
    if (this.config.rehearsal && name === 'Capabilities') call.sendMetadata(grpc.Metadata.fromHttp2Headers({ 'tieback-rehearsal': 'yes' }));
    if (asked === 'throttled') throw new Status(grpc.status.RESOURCE_EXHAUSTED, 'rehearsal: throttled', throttledMs);
    const a = await method(await this.company(call.request.companyId), call.request as never, () => waits(call));
    if (asked === 'lost-answer') throw new Status(grpc.status.UNAVAILABLE, 'rehearsal: the answer was lost');
    return a;
  }

  private admit(call: Call): void {
    const sent = call.metadata.get('authorization');
    if (this.token && (sent.length !== 1 || !timingSafeEqual(hash(String(sent[0])), this.token))) {
      throw new Status(grpc.status.UNAUTHENTICATED, 'the token is missing or wrong');
    }
  }

  /** company opens the books of a company, once. */
  private company(id = ''): Promise<Company> {
    if (!/^[1-9]\d*$/.test(id)) throw new Refusal('company', `"${id}" is not the id of a company.`);
    let c = this.companies.get(id);
    if (!c) {
      c = Company.open(this.config.data, id, this.config.currency).catch((err: unknown) => {
        this.companies.delete(id); // the next call tries it again
        console.error(err);
        throw new Status(grpc.status.ABORTED, 'the books cannot be opened; the reason is in the log');
      });
      this.companies.set(id, c);
    }
    return c;
  }
}

/** No entity declares `currency`, as documents may only be in the company's own currency. */
const capabilities = {
  name: 'Filebooks', version: '1.0.0',
  entities: entities.map((entity) => ({ entity, put: true, list: true, state: true, remove: true, update: traits[entity].update, tax: taxed(entity), retainage: withholds(entity) || isContract(entity) })),
};

const hash = (s: string): Buffer => createHash('sha256').update(s).digest();

const waits = (call: Call): boolean => !call.cancelled && Date.now() < Number(call.getDeadline());
