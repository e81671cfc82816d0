package links

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/tieback/tieback/pkg/state"
)

// link is a link as it is listed.
type link struct {
	ItemType string `json:"item_type"`
	ItemID   int64  `json:"item_id"`
	OriginID string `json:"origin_id"`
	Request  int64  `json:"request"` // ERP request that taught it; 0: read back from Procore
}

// sorted lists the links that are not ended, of the item types asked for or of all.
func sorted(all map[state.Linked]state.Link, itemTypes []string) []link {
	var out []link
	for r, l := range all {
		if l.OriginID != "" && (len(itemTypes) == 0 || slices.Contains(itemTypes, r.ItemType)) {
			out = append(out, link{r.ItemType, r.ItemID, l.OriginID, l.Order.Request()})
		}
	}
	slices.SortFunc(out, func(a, b link) int {
		return cmp.Or(cmp.Compare(a.ItemType, b.ItemType), cmp.Compare(a.ItemID, b.ItemID))
	})
	return out
}

// printLinks writes a table, or JSON: one link a line.
func printLinks(w io.Writer, output string, all []link) error {
	if output == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		for _, l := range all {
			if err := enc.Encode(l); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ITEM TYPE\tPROCORE ID\tORIGIN ID\tERP REQUEST")
	for _, l := range all {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", l.ItemType, l.ItemID, l.OriginID, request(l.Request))
	}
	return t.Flush()
}

func request(id int64) string {
	if id == 0 {
		return "rebuilt"
	}
	return fmt.Sprint(id)
}

// printReport writes a rebuild's report: for people the sums and what needs a look, or JSON.
func printReport(w io.Writer, output string, r Report) error {
	if output == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(r)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ITEM TYPE\tIN PROCORE\tSAME\tNEW\tDIFFERENT\tGONE\tUNCHECKED")
	for _, s := range r.Types {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\n", s.ItemType, s.Procore, s.Same, s.New, s.Different, s.Gone, s.Unchecked)
	}
	printChanges(t, r)
	printUnread(t, "\nCOULD NOT BE READ\tOF\tWHY", r.Unread)
	printUnread(t, "\nHOLDS NO LINES\tOF\tWHY", r.NoLines)
	if len(r.Hidden) > 0 {
		fmt.Fprintln(t, "\nPROJECT NOT LISTED\tWHY")
	}
	for _, id := range r.Hidden {
		fmt.Fprintf(t, "%d\tnot permitted to the app in Procore, or deleted there: its links are left as they are\n", id)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", verdict(r))
	return err
}

// printChanges lists what somebody should look at; in a dry run, all.
func printChanges(w io.Writer, r Report) {
	head := "\nCHANGE\tITEM TYPE\tPROCORE ID\tKNOWN AS\tIN PROCORE\n"
	for _, c := range r.Changes {
		if c.Kind != New || r.DryRun {
			fmt.Fprintf(w, "%s%s\t%s\t%d\t%s\t%s\n", head, c.Kind, c.ItemType, c.ItemID, dash(c.Known), dash(c.Procore))
			head = ""
		}
	}
}

func printUnread(w io.Writer, head string, all []Unread) {
	if len(all) > 0 {
		fmt.Fprintln(w, head)
	}
	for _, u := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\n", u.List, dash(u.Of), u.Why)
	}
}

func verdict(r Report) string {
	made := len(r.Changes) - r.Left()
	text := fmt.Sprintf("%d links saved, from %d lists.", made, r.Lists)
	if r.DryRun {
		text = fmt.Sprintf("A dry run: %d links would be saved, from %d lists.", made, r.Lists)
	}
	if left := r.Left(); left > 0 {
		text += fmt.Sprintf(" %d that differ are left as they are: --force makes them as Procore has them.", left)
	}
	return text
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
