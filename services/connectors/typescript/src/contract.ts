// The messages of connector.proto, as the proto loader returns them: 64-bit ids and amounts are strings, since a
// JavaScript number would round them. Empty fields are absent.

export interface Line {
  procoreId?: string; originId?: string; kind?: string; description?: string;
  amount?: string; quantity?: string; unitCost?: string; unit?: string; taxAmount?: string; retainage?: string;
  taxCodeOriginId?: string; retainagePercent?: string;
  jobOriginId?: string; subJobOriginId?: string; costCodeOriginId?: string; categoryOriginId?: string;
  contractLineOriginId?: string; position?: number;
}

export interface Rec {
  entity: Entity; procoreId?: string; originId?: string; code?: string; name?: string; description?: string;
  status?: string; kind?: string; inactive?: boolean; date?: string; currency?: string; amount?: string;
  jobOriginId?: string; subJobOriginId?: string; vendorOriginId?: string; contractOriginId?: string; parentOriginId?: string;
  lines: Line[]; contact?: object; originData?: string; customFields?: string; standardOriginId?: string;
  costCodeOriginId?: string; categoryOriginId?: string; number?: string; startsOn?: string; endsOn?: string; actualAmount?: string;
  taxAmount?: string; retainagePercent?: string;
}

export interface Booking { originId: string; originCode?: string; originData?: string; lineOriginIds: string[]; stamp?: string }

export interface PutRequest { companyId?: string; key?: string; record?: Rec; request?: string; stamp?: string; order?: string; orderLatest?: string }
export interface FindRequest { companyId?: string; key?: string; entity?: Entity }
export interface ListRequest {
  companyId?: string; entity?: Entity; cursor?: string; limit?: number;
  jobOriginId?: string; subJobOriginId?: string; parentOriginId?: string;
}
export interface StateRequest { companyId?: string; entity?: Entity; originId?: string }
export interface RemoveRequest extends StateRequest { key?: string; request?: string; order?: string; orderLatest?: string }
export interface Change { record: Rec; deleted?: boolean }

export interface Trait {
  title: string;   // in messages
  prefix: string;  // of origin ids; "": the id consists of the references
  needs: string[]; // required fields
  unique: boolean; // its code is unique among live records, within its job if it has one
  update: boolean; // Put changes it in place; documents are changed only in the ERP
}

const trait = (title: string, prefix: string, needs: string, unique = false, update = true): Trait =>
  ({ title, prefix, needs: needs.split(' ').filter(Boolean), unique, update });

/** The properties of each entity, in the order of the contract. */
export const traits = {
  ENTITY_STANDARD_COST_CODE: trait('standard cost code', 'SCC', 'name code', true),
  ENTITY_STANDARD_CATEGORY: trait('standard category', 'CAT', 'name', true),
  ENTITY_VENDOR: trait('vendor', 'V', 'name'),
  ENTITY_INSURANCE: trait('insurance', 'INS', 'vendor'),
  ENTITY_JOB: trait('job', 'JOB', 'name', true),
  ENTITY_SUB_JOB: trait('sub job', 'SUB', 'name job', true),
  ENTITY_COST_CODE: trait('cost code', 'CC', 'name code job', true),
  ENTITY_COST_TYPE_ASSIGNMENT: trait('cost type assignment', '', 'cost_code category'),
  ENTITY_JOB_COST: trait('job cost', '', 'cost_code category'),
  ENTITY_BUDGET: trait('budget', 'BUD', 'job'),
  ENTITY_COMMITMENT: trait('commitment', 'PO', 'job vendor', false, false),
  ENTITY_COMMITMENT_CHANGE_ORDER: trait('commitment change order', 'CCO', 'contract', false, false),
  ENTITY_REQUISITION: trait('requisition', 'REQ', 'contract', false, false),
  ENTITY_PAYMENT: trait('payment', 'PAY', '', false, false),
  ENTITY_PRIME_CONTRACT: trait('prime contract', 'PC', 'job', false, false),
  ENTITY_PRIME_CONTRACT_CHANGE_ORDER: trait('prime contract change order', 'PCO', 'contract', false, false),
  ENTITY_PAYMENT_APPLICATION: trait('payment application', 'APP', '', false, false),
  ENTITY_DIRECT_COST: trait('direct cost', 'DC', '', false, false),
};

export type Entity = keyof typeof traits;
export const entities = Object.keys(traits) as Entity[];

/** Documents prevent the removal of what they refer to. Other records are removed with their owner. */
export const isDocument = (e: Entity): boolean => entities.indexOf(e) >= entities.indexOf('ENTITY_COMMITMENT');

/** Invoices and direct costs withhold retainage; contracts have its percentage. */
export const taxed = (e: Entity): boolean => isDocument(e) && e !== 'ENTITY_PAYMENT';
export const withholds = (e: Entity): boolean => ['ENTITY_REQUISITION', 'ENTITY_PAYMENT_APPLICATION', 'ENTITY_DIRECT_COST'].includes(e);
export const isContract = (e: Entity): boolean => taxed(e) && !withholds(e);

/** assignmentId returns the origin id of an assignment and of its job cost, in every ERP. */
export const assignmentId = (costCode = '', category = ''): string => `${costCode}|${category}`;

/** call names a record in a message: vendor "Acme". */
export const call = (r: Rec): string =>
  [traits[r.entity].title, JSON.stringify(r.code || r.number || r.name || r.originId || r.procoreId || '')].join(' ');
