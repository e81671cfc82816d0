package ledgercmd

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tieback/tieback/services/connectors/ledger"
)

// printAll writes a table, or JSON with one record per line.
func (c *command) printAll(w io.Writer, all []*ledger.Record) error {
	if c.output == "json" {
		for _, r := range all {
			if err := printJSON(w, r, false); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ORIGIN ID\tCODE\tNAME\tJOB\tVENDOR\tAMOUNT\tPROCORE ID")
	for _, r := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.OriginId, r.Code, r.Name, dash(r.JobOriginId), dash(r.VendorOriginId), dash(r.Amount), procore(r))
	}
	return t.Flush()
}

func (c *command) printOne(w io.Writer, r *ledger.Record) error {
	if c.output == "json" {
		return printJSON(w, r, true)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, f := range []struct{ name, value string }{
		{"entity", ledger.Title(r.Entity)}, {"origin id", r.OriginId}, {"procore id", procore(r)}, {"code", r.Code}, {"name", r.Name},
		{"description", r.Description}, {"status", r.Status}, {"kind", r.Kind}, {"number", r.Number}, {"date", r.Date},
		{"job", r.JobOriginId}, {"sub job", r.SubJobOriginId}, {"vendor", r.VendorOriginId}, {"contract", r.ContractOriginId},
		{"parent", r.ParentOriginId}, {"cost code", r.CostCodeOriginId}, {"category", r.CategoryOriginId},
		{"currency", r.Currency}, {"amount", r.Amount}, {"actual amount", r.ActualAmount}, {"tax", r.TaxAmount}, {"retainage percent", r.RetainagePercent},
	} {
		if f.value != "" {
			fmt.Fprintf(t, "%s\t%s\n", f.name, f.value)
		}
	}
	if len(r.Lines) > 0 {
		fmt.Fprintln(t, "\nLINE\tCOST CODE\tCATEGORY\tAMOUNT\tTAX\tRETAINAGE\tDESCRIPTION")
	}
	for _, l := range r.Lines {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.OriginId, dash(l.CostCodeOriginId), dash(l.CategoryOriginId), dash(l.Amount), dash(l.TaxAmount), dash(l.Retainage), l.Description)
	}
	return t.Flush()
}

func printJSON(w io.Writer, r *ledger.Record, pretty bool) error {
	raw, err := protojson.MarshalOptions{UseProtoNames: true, Multiline: pretty}.Marshal(r)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", raw)
	return err
}

func procore(r *ledger.Record) string {
	if r.ProcoreId == 0 {
		return "-"
	}
	return fmt.Sprint(r.ProcoreId)
}

func dash(s string) string { return cmp.Or(s, "-") }
