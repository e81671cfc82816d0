package catalogue_test

import (
	"fmt"

	"github.com/tieback/tieback/pkg/catalogue"
)

// Procore sends this event under another name than the dictionary's.
func ExampleLookup() {
	row, ok := catalogue.Lookup("create_contract_payment")
	fmt.Println(row.Name, row.Category, ok)
	fmt.Println(row.Label(), "marks", row.ItemTypes())
	_, ok = catalogue.Lookup("create_spaceship")
	fmt.Println(ok)
	// Output:
	// create_payment export true
	// create payment marks [contract_payment]
	// false
}
