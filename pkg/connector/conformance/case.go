package conformance

import "context"

// Case is one thing that a connector must do right.
type Case struct {
	Name     string // "the same key twice"
	Protects string // the rule, in a few words
	Ledger   string // what a real ledger would look like because of a failure
	run      func(context.Context, *suite) error
}

// Cases are all cases, in the order in which they run.
func Cases() []Case {
	return []Case{
		{"capabilities", "the connector says the same of itself each time, and it makes sense",
			"Buttons in Procore would work one day and be refused the next, for no reason that an accountant could see.", capabilities},
		{"every declared entity", "what is declared works: booked, found, listed, told, changed, removed",
			"An accountant presses a button that Procore offers, and the ERP has nothing to show for it.", everyEntity},
		{"the same key twice", "a repeat is answered with the first booking, word for word",
			"After a retry the vendor, or the contract with its whole amount, stands in the books twice.", sameKey},
		{"the same key with other content", "the first booking stands, whatever a repeat says",
			"A late repeat of an old export rewrites or doubles a record that was booked and approved.", otherContent},
		{"the same key many times at once", "one booking, also from several processes at once",
			"Two workers that got the same event book the same invoice twice, in the same second.", sameKeyAtOnce},
		{"different keys at once", "each record is booked, each as itself",
			"On a busy morning one record's export answers with another's number, or goes missing.", keysAtOnce},
		{"killed while booking", "what was answered is in the books, and what was not can be booked again, once",
			"After a power cut some invoices are paid twice, and others that Procore shows as exported are in nobody's books.", crash},
		{"timeouts", "who gave up waiting finds out by the key what became of it, and may send it again",
			"Each slow minute of the ERP leaves doubled records behind.", timeouts},
		{"cancelled", "a caller who goes away is let go at once, and told nothing that isn't so",
			"An export is told as failed to the accountant, who enters it by hand, and then it is in the books twice.", cancelled},
		{"the answer was lost", "a lost answer is ambiguous: not done, not failed",
			"The accountant reads that the export failed and enters it again, though the ERP had booked it.", lostAnswer},
		{"throttled", "a busy ERP is told as busy, and the connector does not wait or retry by itself",
			"In the month-end rush the connector hammers the ERP until it locks the company's account out.", throttled},
		{"unknown vendor", "a record of a vendor that the ERP does not have is refused, with the reason",
			"Contracts without a vendor, or under another one's name: whoever is paid, it is the wrong one.", unknownVendor},
		{"unknown job", "a record of a job that the ERP does not have is refused, with the reason",
			"Costs on no job or on another one, and every job's margin is wrong.", unknownJob},
		{"unknown cost code", "a line on a cost code that the ERP does not have is refused, with the reason",
			"Costs that are in the total and in no cost code: the job cost report does not add up.", unknownCostCode},
		{"taken job code", "a second job of the same code is refused, with the field code",
			"Two jobs share one code and their costs run together; Procore lets the user choose another code only if told which field it is.", takenCode},
		{"many lines", "each of 200 lines is booked once, and answered in its place",
			"Invoices later bill the wrong lines of the contract, since each line's number is another's.", manyLines},
		{"one bad line among 200", "all of a document or nothing",
			"Half a contract in the books: it looks complete, and the total is short by the lines that were refused.", oneBadLine},
		{"every script and length of text", "text is kept whole, or refused with its field",
			"Vendors with names cut short or full of question marks, on checks that the bank returns.", texts},
		{"64-bit ids", "Procore ids beyond 2^53 come back exact",
			"A record is marked as synced under another one's id, in Procore, where nobody looks for it.", bigIDs},
		{"cents", "amounts are decimals, exact to the cent, and so are their sums",
			"The books are a cent off here and there, and somebody spends the month-end on finding it.", cents},
		{"paging", "every record comes on some page, once, and no page is larger than asked for",
			"The last few vendors never arrive in Procore, and nobody can buy from them there.", paging},
		{"paging while records change", "what changes while someone pages is never left out",
			"A vendor who was entered while a sync ran is missing in Procore for good: no later sync brings it.", pagingWhileChanging},
		{"cursor", "a sync brings what changed since the last one, all of it, and nothing else",
			"Each sync sends the whole ERP to Procore again, or changes made in the ERP never arrive.", cursors},
		{"filters", "a listing of one job, sub job or vendor has that one's records only",
			"One job's cost codes appear in another job's budget.", filters},
		{"tombstones", "a deleted record is listed as deleted, and never as if it were there",
			"Procore goes on offering a vendor who is gone from the ERP, and each export to it fails.", tombstones},
		{"state", "present, deleted and never there are three answers",
			"Procore unlinks a record that is still in the books, which is then exported a second time.", states},
		{"removed twice", "a second removal is harmless, and so is one of what never was",
			"A reset that is repeated fails, and the record can be neither used nor exported again.", removedTwice},
		{"removed while something depends on it", "what others depend on is not torn out from under them",
			"A contract in the books whose vendor does not exist any more.", dependents},
		{"exported again after a reset", "a new life is a new booking, and the old key still tells of the old one",
			"The record was reset to correct it, and the corrected export books nothing; or a late repeat brings the wrong one back.", reset},
		{"an older request never overwrites a newer one", "a change that comes late is refused, with the field request",
			"Yesterday's amounts replace today's, because yesterday's export was retried.", olderRequest},
		{"an older reset never removes what a newer request changed", "a reset that comes late is refused, with the field request",
			"A record that was just corrected and exported is taken out of the books by last week's reset, and Procore shows it as exported.", lateReset},
		{"origin ids that Procore can tell apart", "contracts of both kinds share Procore's item types, and so no origin id is given to both",
			"Procore refuses to mark the second one as synced: it is in the books, and the accountant reads that its export failed.", originsApart},
		{"a change of what isn't there", "a change of an unknown record is refused, and books nothing",
			"An update that came too late makes a second record, without the first one's history.", changeUnknown},
		{"what is not declared", "it is refused plainly, without a crash and without a trace",
			"A call that the connector never meant to take leaves a half-made record behind.", undeclared},
		{"another company", "each company sees its own books only",
			"One contractor reads another one's vendors and prices.", otherCompany},
	}
}
