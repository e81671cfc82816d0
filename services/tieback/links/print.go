package links

import (
	"fmt"
	"io"
	"text/tabwriter"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/operator/links"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

func printLinks(w io.Writer, all []*operatorv1.Link) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ITEM TYPE\tPROCORE ID\tORIGIN ID\tERP REQUEST")
	for _, l := range all {
		request := "rebuilt"
		if l.RequestId != 0 {
			request = fmt.Sprint(l.RequestId)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", terminal.Line(l.ItemType), l.ItemId, terminal.Line(l.OriginId), request)
	}
	return t.Flush()
}

// printReport prints the counts by item type, and what an operator should check.
func printReport(w io.Writer, r *operatorv1.LinkReport) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ITEM TYPE\tIN PROCORE\tSAME\tNEW\tDIFFERENT\tGONE\tUNCHECKED")
	for _, s := range r.Types {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\n", s.ItemType, s.InProcore, s.Same, s.New, s.Different, s.Gone, s.Unchecked)
	}
	printChanges(t, r)
	printUnread(t, "\nLIST NOT READ\tOF\tWHY", r.Unread)
	printUnread(t, "\nLIST WITHOUT LINES\tOF\tWHY", r.WithoutLines)
	if len(r.HiddenProjects) > 0 {
		fmt.Fprintln(t, "\nPROJECT NOT LISTED\tWHY")
	}
	for _, id := range r.HiddenProjects {
		fmt.Fprintf(t, "%d\tnot permitted to the app in Procore, or deleted; its links are unchanged\n", id)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", verdict(r))
	return err
}

// printChanges prints the changes that need --force; of a dry run, all.
func printChanges(w io.Writer, r *operatorv1.LinkReport) {
	head := "\nCHANGE\tITEM TYPE\tPROCORE ID\tSTORED\tIN PROCORE\n"
	for _, c := range r.Changes {
		if c.Kind != links.New || !r.Saved {
			fmt.Fprintf(w, "%s%s\t%s\t%d\t%s\t%s\n", head, c.Kind, c.ItemType, c.ItemId, terminal.Dash(terminal.Line(c.StoredOriginId)), terminal.Dash(terminal.Line(c.ProcoreOriginId)))
			head = ""
		}
	}
}

func printUnread(w io.Writer, head string, all []*operatorv1.UnreadList) {
	if len(all) > 0 {
		fmt.Fprintln(w, head)
	}
	for _, u := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\n", u.List, terminal.Dash(u.Of), terminal.Line(u.Why))
	}
}

func verdict(r *operatorv1.LinkReport) string {
	saved := terminal.Count(len(r.Changes)-links.Unchanged(r), "link", "links")
	lists := terminal.Count(int(r.Lists), "list", "lists")
	text := fmt.Sprintf("%s saved, from %s.", saved, lists)
	if !r.Saved {
		text = fmt.Sprintf("Dry run: %s would be saved, from %s.", saved, lists)
	}
	if n := links.Unchanged(r); n > 0 {
		text += fmt.Sprintf(" %s from Procore and are unchanged; --force changes them to Procore's.", terminal.Count(n, "link differs", "links differ"))
	}
	return text
}
