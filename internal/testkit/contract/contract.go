// Package contract holds what a server answers to the OpenAPI document of the
// API: the status, the media type, the headers and the body of every answer of
// a documented operation. Tests and test harnesses ask through [Watch].
//
// The document is one of OpenAPI 3.1, whose schemas are those of JSON Schema
// 2020-12, so a validator of that judges them as they stand. It is stricter than
// a client has to be: a field that the document does not name is an error here,
// since it is one of the document.
package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"tandem/internal/web/api"
)

// A Document is an OpenAPI document, ready to judge answers. It is not changed
// once it is made, and may be used by many goroutines.
type Document struct {
	operations map[string]*operation // by their pattern in routes
	routes     *http.ServeMux
	refusal    *operation // how what is no operation is refused: 400 and 404
}

// operation is one method of one path.
type operation struct {
	id      string
	answers map[int]*answer
}

// answer is what an operation may answer with one status.
type answer struct {
	media   map[string]*media
	headers map[string]*header
}

// media is a body of one media type. Without a schema anything goes.
type media struct {
	schema *jsonschema.Schema
	item   *jsonschema.Schema // of an event of a stream
	data   *jsonschema.Schema // of the JSON that an event's data is (contentSchema)
}

type header struct {
	required bool
	number   bool // what is judged is the number that the text is
	schema   *jsonschema.Schema
}

// API gives the document of the API, which is made once for all tests of a
// program.
func API() (*Document, error) { return documentOfAPI() }

var documentOfAPI = sync.OnceValues(func() (*Document, error) {
	text, err := api.OpenAPI()
	if err != nil {
		return nil, err
	}
	return Parse(text)
})

// Parse reads an OpenAPI 3.1 document in JSON. It refuses one that is not
// self-contained or holds a schema that is none.
func Parse(text []byte) (*Document, error) {
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	r := &reader{tree: tree, compiler: jsonschema.NewCompiler(), answers: map[string]*answer{}}
	r.compiler.DefaultDraft(jsonschema.Draft2020)
	r.compiler.AssertFormat()
	closeObjects(tree)
	if err := r.compiler.AddResource(resource, tree); err != nil {
		return nil, fmt.Errorf("take the document for a schema: %w", err)
	}
	d := &Document{operations: map[string]*operation{}, routes: http.NewServeMux(), refusal: &operation{id: "no operation", answers: map[int]*answer{}}}
	for status, name := range map[int]string{http.StatusBadRequest: "Invalid", http.StatusNotFound: "NotFound"} {
		if d.refusal.answers[status], err = r.answer("/components/responses/" + name); err != nil {
			return nil, err
		}
	}
	for path, item := range r.object("/paths") {
		for method := range item.(map[string]any) {
			at := "/paths" + pointer(path, method)
			op, err := r.operation(at)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", at, err)
			}
			pattern := strings.ToUpper(method) + " " + path
			d.operations[pattern] = op
			d.routes.Handle(pattern, http.NotFoundHandler()) // asked only for the pattern
		}
	}
	return d, nil
}

// resource is what the document is called among schemas.
const resource = "file:///openapi.json"

// reader compiles the parts of a document.
type reader struct {
	tree     any
	compiler *jsonschema.Compiler
	answers  map[string]*answer // that were read already: most are shared by many operations
}

// closeObjects lets no object hold a property that its schema does not name,
// unless it names none.
func closeObjects(tree any) {
	switch node := tree.(type) {
	case map[string]any:
		if _, named := node["properties"].(map[string]any); named && node["additionalProperties"] == nil {
			node["additionalProperties"] = false
		}
		for _, child := range node {
			closeObjects(child)
		}
	case []any:
		for _, child := range node {
			closeObjects(child)
		}
	}
}

// at follows a JSON pointer, and the references on its way, to where it ends.
func (r *reader) at(location string) (node any, resolved string) {
	node = r.tree
	for _, token := range strings.Split(location, "/")[1:] {
		object, _ := node.(map[string]any)
		node = object[strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")]
		resolved += "/" + token
		if object, ok := node.(map[string]any); ok {
			if ref, ok := object["$ref"].(string); ok {
				node, resolved = r.at(strings.TrimPrefix(ref, "#"))
			}
		}
	}
	return node, resolved
}

// object is what stands at a location, nothing if that is no object.
func (r *reader) object(location string) map[string]any {
	node, _ := r.at(location)
	object, _ := node.(map[string]any)
	return object
}

// text is the string at a location.
func (r *reader) text(location string) string {
	node, _ := r.at(location)
	text, _ := node.(string)
	return text
}

// schema compiles the schema at a location; nil if there is none.
func (r *reader) schema(location string) (*jsonschema.Schema, error) {
	node, resolved := r.at(location)
	if node == nil {
		return nil, nil
	}
	return r.compiler.Compile(resource + "#" + resolved)
}

func (r *reader) operation(at string) (*operation, error) {
	op := &operation{id: r.text(at + "/operationId"), answers: map[int]*answer{}}
	for code := range r.object(at + "/responses") {
		status, err := strconv.Atoi(code)
		if err != nil {
			return nil, fmt.Errorf("status %q: an operation lists each status that it gives", code)
		}
		if op.answers[status], err = r.answer(at + "/responses/" + code); err != nil {
			return nil, err
		}
	}
	return op, nil
}

func (r *reader) answer(at string) (*answer, error) {
	_, at = r.at(at)
	if known := r.answers[at]; known != nil {
		return known, nil
	}
	a := &answer{media: map[string]*media{}, headers: map[string]*header{}}
	r.answers[at] = a
	for name := range r.object(at + "/content") {
		of := at + "/content" + pointer(name)
		m := &media{}
		for part, schema := range map[string]**jsonschema.Schema{"/schema": &m.schema, "/x-itemSchema": &m.item,
			"/x-itemSchema/properties/data/contentSchema": &m.data} {
			var err error
			if *schema, err = r.schema(of + part); err != nil {
				return nil, err
			}
		}
		a.media[name] = m
	}
	for name := range r.object(at + "/headers") {
		of := at + "/headers" + pointer(name)
		h := &header{number: slices.Contains([]string{"integer", "number"}, r.text(of+"/schema/type"))}
		h.required, _ = r.object(of)["required"].(bool)
		var err error
		if h.schema, err = r.schema(of + "/schema"); err != nil {
			return nil, err
		}
		a.headers[name] = h
	}
	return a, nil
}

// find gives the operation that a request is one of; nil for what is none of the
// API's. HEAD is the GET without its body (RFC 9110 §9.3.2).
func (d *Document) find(r *http.Request) *operation {
	_, pattern := d.routes.Handler(r)
	if op := d.operations[pattern]; op != nil || !strings.HasPrefix(r.URL.Path, "/v1/") {
		return op
	}
	return d.refusal
}

// names are the media types that an answer may have, for a sentence.
func (a *answer) names() string { return strings.Join(slices.Sorted(maps.Keys(a.media)), ", ") }

// pointer writes tokens as a JSON pointer (RFC 6901).
func pointer(tokens ...string) string {
	var b strings.Builder
	for _, token := range tokens {
		b.WriteString("/" + strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1"))
	}
	return b.String()
}

// value reads the text of a header as what its schema is about.
func (h *header) value(text string) any {
	if h.number {
		return json.Number(text)
	}
	return text
}
