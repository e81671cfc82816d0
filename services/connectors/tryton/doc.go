// Package tryton is the connector of Tryton 6.0, a real ERP: Tryton's standard models hold the books, and a small module
// of ours (module/tieback, installed in Tryton) writes a record and its key in one transaction and keeps the log of
// changes.
//
//	Procore                      Tryton                                      origin id
//	vendor                       party.party                                 its id
//	job, sub job, cost code      analytic_account.account, a tree            its id
//	cost type assignment         a leaf under the cost code                  cost code|category
//	job cost                     the same leaf's debit less credit           cost code|category
//	standard cost code, type     analytic_account.account, separate roots    its id
//	commitment, change order     purchase.purchase, quoted                   its id
//	requisition, direct cost     account.invoice, a supplier's, posted       its id
//	payment                      account.move, linked to the invoice         its id
//	prime contract, change order sale.sale, quoted                           its id
//	payment application          account.invoice, a customer's, posted       its id
//
// Tryton 6.0 has no budgets and no insurances.
//
// The cost of a line goes to the leaf account of its cost code and category, which is created if it is missing. A line
// without a cost code or category goes to no analytic account. Tax and retainage are separate lines, on the accounts in
// facts, without an analytic account. Values for which Tryton has no field (units, custom fields, Procore's status) are
// stored by our module.
package tryton
