package archtest

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What a site runs on need not be PostgreSQL itself: CockroachDB, YugabyteDB and Aurora
// speak its protocol and do not have all it has. So statements and migrations keep to
// what all of them, and SQLite, have.

// foreignSQL is what no statement and no migration may have, and why.
func foreignSQL() []struct {
	pattern *regexp.Regexp
	why     string
} {
	rule := func(pattern, why string) struct {
		pattern *regexp.Regexp
		why     string
	} {
		return struct {
			pattern *regexp.Regexp
			why     string
		}{regexp.MustCompile(`(?is)` + pattern), why}
	}
	return []struct {
		pattern *regexp.Regexp
		why     string
	}{
		rule(`\bEXCLUDE\b`, "an exclusion constraint is PostgreSQL's alone: a key is what enforces a rule"),
		rule(`\bEXTENSION\b`, "an extension is not everywhere"),
		rule(`\bTRIGGER\b|\bCREATE\s+(OR\s+REPLACE\s+)?(FUNCTION|PROCEDURE|RULE)\b|\$\$`, "what the program does is in the program"),
		rule(`\b(CREATE|ALTER)\s+SEQUENCE\b|\b(SMALL|BIG)?SERIAL\b|\bIDENTITY\b|\b(next|curr|set)val\b|\bGENERATED\b`, "a sequence gives numbers in another order than transactions commit, and is one row for all writers"),
		rule(`\bpg_(try_)?advisory`, "an advisory lock outlives no failover and is not everywhere: lock a row"),
		rule(`\bON\s+CONFLICT\s*\([^()]*\)\s*WHERE\b`, "a partial index cannot be named everywhere as what a row conflicts with"),
		rule(`\b(LISTEN|UNLISTEN|NOTIFY)\b|\bpg_notify\b`, "poolers and other engines lose notifications"),
		rule(`::`, "a cast is written CAST(x AS type)"),
		rule(`\b(ILIKE|SIMILAR\s+TO|LATERAL|UNLOGGED|TABLESPACE|MATERIALIZED|PARTITION\s+OF|TRUNCATE)\b|\bARRAY\s*\[|\bANY\s*\(|->|@>|!~|\s~\*?\s`, "it is not everywhere"),
		rule(`\bSKIP\s+LOCKED\b`, "rows are locked by Conn.Lock"),
	}
}

// callsSQL are the words that may stand before a parenthesis: what is not a function,
// and the functions that every engine has.
func callsSQL() []string {
	return strings.Fields(`AND AS BY CHECK CONFLICT DELETE DISTINCT EXISTS FILTER FROM IN INTO IS KEY NOT ON OR OVER PARTITION SELECT SET THEN UNION UNIQUE
		REFERENCES TABLE USING VALUES WHEN WHERE WITH JOIN ELSE LIMIT PRIMARY
		CAST COALESCE COUNT LENGTH MAX MIN SUM ROW_NUMBER NULLIF ABS SUBSTR UPPER LOWER`)
}

var (
	lineComment = regexp.MustCompile(`--[^\n]*`)
	longComment = regexp.MustCompile(`(?s)/\*.*?\*/`)
	quotedText  = regexp.MustCompile(`'(?:[^']|'')*'`)
	quotedName  = regexp.MustCompile(`"[^"]*"`)
	beforeNames = regexp.MustCompile(`(?i)\b(INTO|TABLE|REFERENCES|ON|WITH|EXISTS)\s+\w+\s*\(`)
	call        = regexp.MustCompile(`\b([A-Za-z_]\w*)\s*\(`)
)

// Portable gives a sentence for each thing in SQL that not every engine has. Functions
// that the caller knows to be where they are used are given as more.
func Portable(text string, more ...string) []string {
	text = quotedText.ReplaceAllString(longComment.ReplaceAllString(lineComment.ReplaceAllString(text, ""), ""), "''")
	text = quotedName.ReplaceAllString(text, "name")
	var found []string
	for _, rule := range foreignSQL() {
		if at := rule.pattern.FindString(text); at != "" {
			found = append(found, fmt.Sprintf("%q: %s", strings.Join(strings.Fields(at), " "), rule.why))
		}
	}
	known := append(callsSQL(), more...)
	for _, m := range call.FindAllStringSubmatch(beforeNames.ReplaceAllString(text, "$1 ("), -1) {
		if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, m[1]) }) {
			found = append(found, fmt.Sprintf("%q: a function that not every engine has, or that is not on the list of those that all have", m[1]))
		}
	}
	return found
}

// contraction is what a program of the release before does not work with.
var contraction = []struct {
	pattern *regexp.Regexp
	what    string
}{
	{regexp.MustCompile(`(?i)\bDROP\s+(TABLE|COLUMN)\b`), "takes away"},
	{regexp.MustCompile(`(?i)\bRENAME\b`), "renames"},
	{regexp.MustCompile(`(?i)\bALTER\s+COLUMN\b|\bADD\s+CONSTRAINT\b|\bSET\s+NOT\s+NULL\b`), "allows less"},
	{regexp.MustCompile(`(?i)\bCREATE\s+UNIQUE\s+INDEX\b`), "allows less"},
}

var (
	addedColumn = regexp.MustCompile(`(?i)\bADD\s+COLUMN\b[^;]*`)
	newTable    = regexp.MustCompile(`(?i)\bCREATE\s+TABLE\s+(\w+)`)
	uniqueOn    = regexp.MustCompile(`(?i)\bCREATE\s+UNIQUE\s+INDEX\s+\w+\s+ON\s+(\w+)`)
)

// Expands gives a sentence for each thing in a migration, by its number, that a program
// of the release before would not survive, unless the migration says that such a
// program may not be used any more.
func Expands(number int, text string) []string {
	up, _, _ := strings.Cut(text, "-- +goose Down")
	if strings.Contains(up, "'oldest_program', '"+strconv.Itoa(number)+"'") {
		return nil
	}
	up = lineComment.ReplaceAllString(up, "")
	made := map[string]bool{} // tables that nobody can have used
	for _, m := range newTable.FindAllStringSubmatch(up, -1) {
		made[m[1]] = true
	}
	up = uniqueOn.ReplaceAllStringFunc(up, func(text string) string {
		if made[uniqueOn.FindStringSubmatch(text)[1]] {
			return ""
		}
		return text
	})
	var found []string
	for _, c := range contraction {
		if at := c.pattern.FindString(up); at != "" {
			found = append(found, fmt.Sprintf("%q %s what the release before needs, and the migration does not say that it is excluded (oldest_program)", at, c.what))
		}
	}
	for _, column := range addedColumn.FindAllString(up, -1) {
		if !strings.Contains(strings.ToUpper(column), " DEFAULT ") {
			found = append(found, fmt.Sprintf("%q has no default, so the release before cannot write", strings.Join(strings.Fields(column), " ")))
		}
	}
	return found
}
