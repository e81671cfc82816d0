// Errors in the form of the contract: a gRPC status whose details hold a tieback.v1.Problem.
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';

/** Refusal is a permanent error with the field and a message for the accountant. Nothing was booked. */
export class Refusal extends Error {
  constructor(readonly field: string, userMessage: string) { super(userMessage); }
}

/** Status is any other error status. */
export class Status extends Error {
  constructor(readonly code: grpc.status, message: string, readonly retryAfterMs?: number) { super(message); }
}

// google.rpc.Status, in which gRPC carries details in every language.
const { Type, Field } = protobuf;
const any = new Type('Any').add(new Field('typeUrl', 1, 'string')).add(new Field('value', 2, 'bytes'));
const rpcStatus = new Type('Status').add(new Field('code', 1, 'int32')).add(new Field('message', 2, 'string'))
  .add(new Field('details', 3, 'Any', 'repeated')).add(any);
const problem = new Type('Problem').add(new Field('field', 1, 'string')).add(new Field('userMessage', 2, 'string'))
  .add(new Field('retryAfterMs', 3, 'int64'));
new protobuf.Root().add(rpcStatus).add(problem);

/**
 * toStatus returns the status of an error. An unexpected error becomes INTERNAL. For a write, that means
 * that it may have happened: Tieback looks it up.
 */
export function toStatus(err: unknown): Partial<grpc.StatusObject> {
  if (err instanceof Refusal) return withProblem(grpc.status.FAILED_PRECONDITION, err.message, { field: err.field, userMessage: err.message });
  if (err instanceof Status) return err.retryAfterMs ? withProblem(err.code, err.message, { retryAfterMs: err.retryAfterMs }) : { code: err.code, details: err.message };
  console.error(err);
  return { code: grpc.status.INTERNAL, details: 'the connector has a bug; its log says where' };
}

function withProblem(code: grpc.status, details: string, p: object): Partial<grpc.StatusObject> {
  const value = problem.encode(p).finish();
  const status = rpcStatus.encode({ code, message: details, details: [{ typeUrl: 'type.googleapis.com/tieback.v1.Problem', value }] }).finish();
  const metadata = new grpc.Metadata();
  metadata.set('grpc-status-details-bin', Buffer.from(status));
  return { code, details, metadata };
}
