package payload

import "fmt"

// exportReaders has a reader for each export event type. Exported uses it; the export handlers name their readers themselves.
var exportReaders = map[string]func(Request) ([]Document, error){
	"create_standard_cost_codes":         StandardCostCodes,
	"create_vendor":                      Vendor,
	"create_or_update_job":               withCostCodes(Job),
	"create_sub_job":                     withCostCodes(SubJob),
	"create_budget":                      Budget,
	"update_budget":                      Budget,
	"create_requisitions":                Requisitions,
	"create_payment":                     ContractPayment,
	"create_commitment":                  Commitment,
	"create_commitment_change_order":     CommitmentChangeOrder,
	"create_payment_application":         PaymentApplication,
	"create_prime_contract_change_order": PrimeContractChangeOrder,
	"create_company_level_direct_cost":   DirectCost,
}

// Exported returns the documents that an export asks the ERP to book. The cost codes of a job follow the job. The demo and the
// chaos test compare the ERP's books with them, and the console's index finds a request by them.
func Exported(eventType string, q Request) ([]Document, error) {
	read := exportReaders[eventType]
	if read == nil {
		return nil, fmt.Errorf("payload: %q is not an export event type", eventType)
	}
	return read(q)
}

func withCostCodes(read func(Request) (Tree, error)) func(Request) ([]Document, error) {
	return func(q Request) ([]Document, error) {
		tree, err := read(q)
		docs := []Document{tree.Document}
		for _, c := range tree.CostCodes {
			docs = append(docs, c.Document)
		}
		return docs, err
	}
}
