package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tandem/internal/web/api"
)

var update = flag.Bool("update", false, "write the OpenAPI document instead of comparing it")

const documentFile = "../../../api/openapi.json"

func TestTheDocumentIsTheOneInTheProject(t *testing.T) {
	got, err := api.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(documentFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("api/openapi.json is not what the code says; go generate ./internal/web/api writes it, and the diff shows what changed")
	}
}

// operationContract is what applications rely on in one published operation.
type operationContract struct {
	Method, Path string
	Success      string
	Request      map[string]string // field: type
	Required     []string          // request fields that must be sent
	Response     map[string]string // field: type; all of them always there
	Statuses     []string
}

// published are the operations of the published pages. It is written by hand:
// what it holds never changes. (Updates of many PINs at once are a list, whose
// shape a test of its own holds.)
var published = []operationContract{
	{Method: "post", Path: "/v1/tenants/{tenant_id}/greenvn", Success: "201",
		Request:  map[string]string{"caller_id_number": "string", "from": "array of string", "to": "array of string", "duration": "integer", "record": "boolean", "custom_field": "string"},
		Required: []string{"caller_id_number", "from", "to"},
		Response: map[string]string{"greenvn_id": "string", "virtual_number": "string", "from": "array of string", "to": "array of string", "status": "string", "record": "boolean", "custom_field": "string", "created_at": "string", "expires_at": "string"}},
	{Method: "get", Path: "/v1/tenants/{tenant_id}/greenvn/{greenvn_id}", Success: "200",
		Response: map[string]string{"greenvn_id": "string", "virtual_number": "string", "from": "array of string", "to": "array of string", "status": "string", "record": "boolean", "custom_field": "string", "call_count": "integer", "created_at": "string", "expires_at": "string"}},
	{Method: "delete", Path: "/v1/tenants/{tenant_id}/greenvn/{greenvn_id}", Success: "200",
		Response: map[string]string{"greenvn_id": "string", "status": "string", "deleted_at": "string"}},
	{Method: "put", Path: "/v1/tenants/{tenant_id}/greenvn/{greenvn_id}/call-party", Success: "200",
		Request:  map[string]string{"from": "array of string", "to": "array of string"},
		Response: map[string]string{"greenvn_id": "string", "virtual_number": "string", "from": "array of string", "to": "array of string", "status": "string", "updated_at": "string", "expires_at": "string"}},
	{Method: "put", Path: "/v1/tenants/{tenant_id}/greenvn/{greenvn_id}/vn", Success: "200",
		Request:  map[string]string{"caller_id_number": "string"},
		Required: []string{"caller_id_number"},
		Response: map[string]string{"greenvn_id": "string", "virtual_number": "string", "from": "array of string", "to": "array of string", "status": "string", "updated_at": "string", "expires_at": "string"}},

	{Method: "post", Path: "/v1/tenants/{tenant_id}/greenpin", Success: "201",
		Request:  map[string]string{"caller_id_number": "string", "from": "array of string", "to": "array of string", "duration": "integer", "max_pin_attempts": "integer", "record": "boolean", "custom_field": "string"},
		Required: []string{"caller_id_number", "from"},
		Response: map[string]string{"greenpin_id": "string", "virtual_number": "string", "from": "array of string", "to": "array of string", "pin": "string", "status": "string", "max_pin_attempts": "integer", "record": "boolean", "custom_field": "string", "created_at": "string", "expires_at": "string"}},
	{Method: "get", Path: "/v1/tenants/{tenant_id}/greenpin/{greenpin_id}", Success: "200",
		Response: map[string]string{"greenpin_id": "string", "virtual_number": "string", "from": "array of string", "to": "array of string", "status": "string", "max_pin_attempts": "integer", "record": "boolean", "custom_field": "string", "call_count": "integer", "created_at": "string", "expires_at": "string"}},
	{Method: "put", Path: "/v1/tenants/{tenant_id}/greenpin/{greenpin_id}", Success: "200",
		Request:  map[string]string{"from": "array of string", "to": "array of string", "duration": "integer", "max_pin_attempts": "integer", "record": "boolean", "custom_field": "string"},
		Response: map[string]string{"greenpin_id": "string", "virtual_number": "string", "from": "array of string", "to": "array of string", "status": "string", "max_pin_attempts": "integer", "record": "boolean", "custom_field": "string", "updated_at": "string", "expires_at": "string"}},
	{Method: "delete", Path: "/v1/tenants/{tenant_id}/greenpin/{greenpin_id}", Success: "200",
		Response: map[string]string{"greenpin_id": "string", "status": "string", "deleted_at": "string"}},
}

// allowedStatuses are those of the published page, and 503.
var allowedStatuses = []string{"200", "201", "400", "401", "404", "409", "429", "500", "503"}

// object is a JSON object.
type object = map[string]any

// spec is an OpenAPI document as an application's tools read it.
type spec struct{ object }

func (s spec) at(o object, path ...string) object {
	for _, key := range path {
		next, _ := o[key].(object)
		if ref, ok := next["$ref"].(string); ok {
			next = s.at(s.object, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		}
		o = next
	}
	return o
}

func (s spec) typeOf(schema object) string {
	if t, _ := schema["type"].(string); t != "array" {
		return t
	}
	return "array of " + s.typeOf(s.at(schema, "items"))
}

func texts(v any) []string {
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, item := range list {
		out = append(out, fmt.Sprint(item))
	}
	return out
}

// breaks tells what an application that follows the published page would trip
// over in this document.
func breaks(document []byte) []string {
	s := spec{object{}}
	if err := json.Unmarshal(document, &s.object); err != nil {
		return []string{err.Error()}
	}
	var found []string
	say := func(c operationContract, format string, args ...any) {
		found = append(found, c.Method+" "+c.Path+": "+fmt.Sprintf(format, args...))
	}
	for _, c := range published {
		op := s.at(s.object, "paths", c.Path, c.Method)
		if op == nil {
			say(c, "is gone")
			continue
		}
		request := s.at(op, "requestBody", "content", "application/json", "schema")
		for field, want := range c.Request {
			if got := s.typeOf(s.at(request, "properties", field)); got != want {
				say(c, "request field %s is %q, published %q", field, got, want)
			}
		}
		if got := texts(request["required"]); !slices.Equal(sorted(got), sorted(c.Required)) {
			say(c, "requires %v, published %v", got, c.Required)
		}
		response := s.at(op, "responses", c.Success, "content", "application/json", "schema", "properties", "response")
		for field, want := range c.Response {
			if got := s.typeOf(s.at(response, "properties", field)); got != want {
				say(c, "response field %s is %q, published %q", field, got, want)
			}
			if !slices.Contains(texts(response["required"]), field) {
				say(c, "response field %s may be missing", field)
			}
		}
		for code := range s.at(op, "responses") {
			if !slices.Contains(allowedStatuses, code) {
				say(c, "may answer %s", code)
			}
		}
	}
	return found
}

func sorted(list []string) []string { list = slices.Clone(list); slices.Sort(list); return list }

func TestNoPublishedOperationIsBroken(t *testing.T) {
	document, err := api.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range breaks(document) {
		t.Error(broken)
	}
}

func TestABreakingChangeOfThePublishedOperationsIsSeen(t *testing.T) {
	document, err := api.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	schema := func(s spec, name string) object { return s.at(s.object, "components", "schemas", name) }
	for name, change := range map[string]func(s spec){
		"a path": func(s spec) { delete(s.at(s.object, "paths"), "/v1/tenants/{tenant_id}/greenvn") },
		"a method": func(s spec) {
			delete(s.at(s.object, "paths", "/v1/tenants/{tenant_id}/greenvn/{greenvn_id}"), "delete")
		},
		"a success": func(s spec) {
			delete(s.at(s.object, "paths", "/v1/tenants/{tenant_id}/greenvn", "post", "responses"), "201")
		},
		"a status": func(s spec) {
			s.at(s.object, "paths", "/v1/tenants/{tenant_id}/greenvn", "post", "responses")["422"] = object{}
		},
		"a type":       func(s spec) { s.at(schema(s, "CreateBody"), "properties", "duration")["type"] = "string" },
		"an item type": func(s spec) { s.at(schema(s, "CreateBody"), "properties", "from", "items")["type"] = "integer" },
		"a field":      func(s spec) { delete(s.at(schema(s, "Updated"), "properties"), "expires_at") },
		"a new need": func(s spec) {
			schema(s, "CreateBody")["required"] = []any{"caller_id_number", "from", "to", "duration"}
		},
		"a lost need":        func(s spec) { schema(s, "NumberBody")["required"] = []any{} },
		"an optional answer": func(s spec) { schema(s, "Allocation")["required"] = []any{"greenvn_id"} },
	} {
		s := spec{object{}}
		if err := json.Unmarshal(document, &s.object); err != nil {
			t.Fatal(err)
		}
		change(s)
		changed, err := json.Marshal(s.object)
		if err != nil {
			t.Fatal(err)
		}
		if len(breaks(changed)) == 0 {
			t.Errorf("%s changed, and nobody saw it", name)
		}
	}
}

func TestTheDocumentIsServedAndReadable(t *testing.T) {
	h := newHarness(t)
	want, err := api.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	a := h.do("GET", "/openapi.json", "", header("Authorization", "")).want(200)
	if a.body != string(want) || a.header.Get("Content-Type") != "application/openapi+json" {
		t.Errorf("/openapi.json is another document, as %s", a.header.Get("Content-Type"))
	}
	if !strings.Contains(a.body, `"openapi": "3.1.0"`) || strings.Contains(a.body, "$schema") || strings.Contains(a.body, `"null"`) {
		t.Error("the document is not the 3.1 document of an API without null")
	}
	page := h.do("GET", "/docs", "", header("Authorization", "")).want(200)
	if csp := page.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "script-src 'self'") {
		t.Errorf("policy %q", csp)
	}
	links := regexp.MustCompile(`(?:href|src)="([^"]+)"`).FindAllStringSubmatch(page.body, -1)
	if len(links) < 3 {
		t.Errorf("the page has %d links", len(links))
	}
	for _, link := range links {
		if !strings.HasPrefix(link[1], "/") {
			t.Errorf("the page loads %s from elsewhere", link[1])
			continue
		}
		h.do("GET", link[1], "", header("Authorization", "")).want(200)
	}
	script := h.do("GET", "/docs/page.js", "").want(200)
	if strings.Contains(script.body, "innerHTML") || strings.Contains(page.body, "<script>") {
		t.Error("the page writes markup or runs a script in line")
	}
}

// Every code that is ever given is in the closed list, and the other way round.
func TestTheListOfErrorCodesIsClosed(t *testing.T) {
	documented := map[string]string{} // code: status
	text, err := os.ReadFile("../../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([0-9]{3}) \\|").FindAllStringSubmatch(string(text), -1) {
		documented[row[1]] = row[2]
	}
	declared := map[string]bool{}
	for _, file := range []string{"../../masking/errors.go", "problem.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`(?m)^\s+[cC]ode\w+\s+(?:masking\.)?Code\s*= "([a-z_]+)"`).FindAllStringSubmatch(string(source), -1) {
			declared[match[1]] = true
			if documented[match[1]] == "" {
				t.Errorf("%s is not in docs/compatibility.md", match[1])
			}
		}
	}
	document, err := api.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	s := spec{object{}}
	if err := json.Unmarshal(document, &s.object); err != nil {
		t.Fatal(err)
	}
	offered := texts(s.at(s.object, "components", "schemas", "ProblemDetail", "properties", "code")["enum"])
	for code := range documented {
		if !declared[code] {
			t.Errorf("%s is documented and nowhere declared", code)
		}
		if !slices.Contains(offered, code) {
			t.Errorf("%s is not in the document's enum", code)
		}
	}
	if len(offered) != len(documented) || len(declared) < 15 {
		t.Errorf("%d codes in the document, %d documented, %d declared", len(offered), len(documented), len(declared))
	}
}
