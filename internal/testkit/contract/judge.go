package contract

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// A verdict is how one answer stands to the document.
type verdict struct {
	operation *operation
	status    int
	media     *media // nil if the answer has no body to be judged
	name      string // of the media type
}

// open judges all of an answer but its body.
func (d *Document) open(r *http.Request, a *http.Response) (verdict, error) {
	v := verdict{operation: d.find(r), status: a.StatusCode}
	if v.operation == nil {
		return v, nil
	}
	documented := v.operation.answers[a.StatusCode]
	if documented == nil {
		return v, v.wrong("the document does not list the status")
	}
	if err := v.headers(documented, a.Header); err != nil {
		return v, err
	}
	if r.Method == http.MethodHead {
		return v, nil
	}
	if len(documented.media) == 0 {
		if a.ContentLength != 0 {
			return v, v.wrong("it has a body, the document none")
		}
		return v, nil
	}
	v.name, _, _ = mime.ParseMediaType(a.Header.Get("Content-Type")) // "" is not listed either
	if v.media = documented.media[v.name]; v.media == nil {
		return v, v.wrong("its Content-Type is none of " + documented.names())
	}
	return v, nil
}

func (v verdict) wrong(what string) error {
	return fmt.Errorf("%s answered %d: %s", v.operation.id, v.status, what)
}

func (v verdict) headers(documented *answer, got http.Header) error {
	var errs []error
	for name, h := range documented.headers {
		values := got.Values(name)
		switch {
		case len(values) == 0 && h.required:
			errs = append(errs, v.wrong("its header "+name+" is missing"))
		case len(values) > 1:
			errs = append(errs, v.wrong("its header "+name+" comes more than once"))
		case len(values) == 1 && h.schema.Validate(h.value(values[0])) != nil:
			errs = append(errs, v.wrong("its header "+name+" is not as documented"))
		}
	}
	return errors.Join(errs...)
}

// whole reports whether the body is judged as one piece. Sound is not: it may be
// long, and nobody but a player knows what is wrong with it.
func (v verdict) whole() bool {
	return v.media != nil && slices.Contains([]string{"application/json", "text/csv"}, v.name)
}

// body judges a body that was read to its end.
func (v verdict) body(b []byte) error {
	if !utf8.Valid(b) {
		return v.wrong("its body is not UTF-8")
	}
	if v.name == "text/csv" {
		if rows, err := csv.NewReader(bytes.NewReader(b)).ReadAll(); err != nil || len(rows) == 0 {
			return v.wrong("its body is no table")
		}
		return v.judge(v.media.schema, string(b))
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return v.wrong("its body is no JSON")
	}
	return v.judge(v.media.schema, value)
}

// judge holds a value, which stands at a place in the body, to a schema.
func (v verdict) judge(schema *jsonschema.Schema, value any, at ...string) error {
	if schema == nil {
		return nil
	}
	err := schema.Validate(value)
	var found *jsonschema.ValidationError
	if !errors.As(err, &found) {
		return err
	}
	var errs []error
	for _, sentence := range sentences(found, at) {
		errs = append(errs, v.wrong(sentence))
	}
	return errors.Join(errs...)
}

// sentences say what is wrong in the end, without what follows from it.
func sentences(e *jsonschema.ValidationError, at []string) []string {
	if len(e.Causes) == 0 {
		return []string{place(slices.Concat(at, e.InstanceLocation)) + " " + words(e.ErrorKind)}
	}
	var all []string
	for _, cause := range e.Causes {
		all = append(all, sentences(cause, at)...)
	}
	return all
}

// words says what is wrong without the value that is, which may be somebody's number.
func words(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Required:
		return "lacks " + strings.Join(k.Missing, ", ")
	case *kind.AdditionalProperties:
		return "has what the document does not name: " + strings.Join(named(k.Properties), ", ")
	case *kind.Type:
		return "is of type " + k.Got + ", documented is " + strings.Join(k.Want, " or ")
	case *kind.Enum:
		return "is none of the values that the document lists"
	case *kind.Format:
		return "is no " + k.Want
	}
	return "breaks " + strings.Join(k.KeywordPath(), "/")
}

// place is a JSON pointer.
func place(tokens []string) string { return "body#" + pointer(named(tokens)...) }

// name is what fields are called, or where something stands in a list.
var name = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_-]{0,39}|[0-9]{1,4})$`)

// named leaves out names that are none of ours: data that became a name.
func named(names []string) []string {
	out := slices.Clone(names)
	for i, n := range out {
		if !name.MatchString(n) {
			out[i] = "…"
		}
	}
	return out
}

// events judges a stream of server-sent events as it is read on.
type events struct {
	io.ReadCloser
	v      verdict
	broken func(error)
	rest   []byte // begun, and not ended by an empty line yet
}

// Read passes on what it reads.
func (e *events) Read(b []byte) (int, error) {
	n, err := e.ReadCloser.Read(b)
	e.rest = append(e.rest, b[:n]...)
	for {
		block, rest, ended := bytes.Cut(e.rest, []byte("\n\n"))
		if !ended {
			return n, err
		}
		e.rest = rest
		if wrong := e.v.event(string(block)); wrong != nil {
			e.broken(wrong)
		}
	}
}

// event judges the lines of one event. Comments, and what only says when to ask
// again, are none.
func (v verdict) event(block string) error {
	fields := map[string]any{}
	for line := range strings.Lines(block) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if name != "" {
			fields[name] = strings.TrimPrefix(value, " ")
		}
	}
	if _, only := fields["retry"]; len(fields) == 0 || only && len(fields) == 1 {
		return nil
	}
	if err := v.judge(v.media.item, fields); err != nil {
		return err
	}
	data, _ := fields["data"].(string)
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(data))
	if err != nil {
		return v.wrong(place([]string{"data"}) + " is no JSON")
	}
	return v.judge(v.media.data, value, "data")
}
