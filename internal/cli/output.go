package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
)

// The output formats.
const (
	formatTable = "table"
	formatJSON  = "json"
)

var errAnswer = errors.New("the answer cannot be read: is that address the API of tandem?")

// A page is the response of a list.
type page struct {
	Items      []json.RawMessage `json:"items"`
	NextCursor string            `json:"next_cursor"`
}

// printJSON writes a response as the server gave it, indented.
func printJSON(w io.Writer, response json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, response, "", "  "); err != nil {
		return errAnswer
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// printOne writes the fields of an object below each other, in the server's order.
func printOne(w io.Writer, response json.RawMessage) error {
	fields, err := fieldsOf(response)
	if err != nil {
		return err
	}
	return printFields(w, fields)
}

func printFields(w io.Writer, fields []field) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		_, _ = fmt.Fprintf(t, "%s\t%s\n", plain(f.name), cell(f.value)) // kept until Flush, which tells
	}
	return t.Flush()
}

// printTable writes one line for each item, with the named fields as columns.
func printTable(w io.Writer, items []json.RawMessage, columns []string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, strings.ToUpper(strings.Join(columns, "\t"))) // kept until Flush, which tells
	for _, item := range items {
		fields, err := fieldsOf(item)
		if err != nil {
			return err
		}
		cells := make([]string, len(columns))
		for i, column := range columns {
			for _, f := range fields {
				if f.name == column {
					cells[i] = cell(f.value)
				}
			}
		}
		_, _ = fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// A field is a member of a JSON object.
type field struct {
	name  string
	value json.RawMessage
}

// fieldsOf reads an object and keeps its order, which a map would lose.
func fieldsOf(object json.RawMessage) ([]field, error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, errAnswer
	}
	var fields []field
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, errAnswer
		}
		var f field
		f.name, _ = name.(string) // a key is always a string
		if err := d.Decode(&f.value); err != nil {
			return nil, errAnswer
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// cell writes a value on one line: texts bare, lists of texts with commas, and
// anything else as JSON.
func cell(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return plain(text)
	}
	var list []string
	if json.Unmarshal(value, &list) == nil {
		for i := range list {
			list[i] = plain(list[i])
		}
		return strings.Join(list, ", ")
	}
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return plain(string(value))
	}
	return plain(b.String())
}

// plain quotes text that could move the cursor, colour the terminal or break a
// table: what comes from a server is others' text.
func plain(text string) string {
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return strconv.Quote(text)
		}
	}
	return text
}
