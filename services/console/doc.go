// Package console is the operators' service: the operator API (proto/tieback/operator/v1), an index of all requests, and
// web pages over both.
//
//	operator/   the API's handlers, over pkg/request, pkg/state and pkg/procore
//	index/      a searchable copy of the history in SQLite; it can be built again from the streams at any time
//	access/     who the caller is, and what they may see and do
//	web/        the pages; they call the API's handlers in the same process
package console
