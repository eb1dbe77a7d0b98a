package contract_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"tandem/internal/testkit/contract"
	"tandem/internal/web/api"
)

// canned is a server that gives one answer.
type canned struct {
	status int
	header http.Header
	body   string
	fails  error // ends the body
}

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	body := io.Reader(strings.NewReader(c.body))
	if c.fails != nil {
		body = io.MultiReader(body, broken{c.fails})
	}
	return &http.Response{StatusCode: c.status, Header: c.header, Body: io.NopCloser(body), ContentLength: int64(len(c.body)), Request: r}, nil
}

type broken struct{ error }

func (b broken) Read([]byte) (int, error) { return 0, b.error }

// ask gives what a client reads, and what the document has against it.
func ask(t *testing.T, method, path string, c canned) (string, error) {
	t.Helper()
	document, err := contract.API()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wrong []error
	client := http.Client{Transport: document.Watch(c, func(err error) {
		mu.Lock()
		defer mu.Unlock()
		wrong = append(wrong, err)
	})}
	req, err := http.NewRequest(method, "http://127.0.0.1"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if !errors.Is(err, c.fails) {
		t.Fatal(err)
	}
	return string(b), errors.Join(wrong...)
}

// headers are those of an answer to a tenant.
func headers(more ...string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "X-Request-Id": {"req_1"}, "Ratelimit-Limit": {"9"}, "Ratelimit-Remaining": {"8"}, "Ratelimit-Reset": {"0"}}
	for i := 0; i < len(more); i += 2 {
		if h.Del(more[i]); more[i+1] != "" {
			h.Set(more[i], more[i+1])
		}
	}
	return h
}

const (
	list    = "/v1/tenants/acme/greenvn"
	one     = list + "/gvn_1"
	calls   = "/v1/tenants/acme/calls.csv"
	stream  = "/v1/tenants/acme/events/stream"
	sound   = "/v1/tenants/acme/calls/call_1/recording"
	good    = `{"response":{"greenvn_id":"gvn_1","status":"deleted","deleted_at":"2024-06-15T10:30:00+05:30"}}`
	refused = `{"error":{"code":"not_found","message":"m","request_id":"req_1"}}`
	event   = "id: 1\nevent: greenvn.created\ndata: {\"id\":\"evt_1\",\"type\":\"greenvn.created\",\"timestamp\":\"2024-06-15T10:30:00Z\",\"data\":{}}\n\n"
)

func TestAnAnswerThatIsAsDocumentedIsPassedOnAsItIs(t *testing.T) {
	for name, c := range map[string]struct {
		method, path string
		canned
	}{
		"a success":               {"DELETE", one, canned{status: 200, header: headers(), body: good}},
		"a refusal":               {"DELETE", one, canned{status: 404, header: headers(), body: refused}},
		"no such operation":       {"GET", "/v1/what", canned{status: 404, header: headers(), body: refused}},
		"no such method":          {"PATCH", list, canned{status: 400, header: headers(), body: refused}},
		"HEAD":                    {"HEAD", list, canned{status: 200, header: headers()}},
		"a table":                 {"GET", calls, canned{status: 200, header: headers("Content-Type", "text/csv; charset=utf-8"), body: "a,b\r\n1,2\r\n"}},
		"a stream":                {"GET", stream, canned{status: 200, header: headers("Content-Type", "text/event-stream"), body: "retry: 2000\n\n: still here\n\n" + event + event}},
		"a sound":                 {"GET", sound, canned{status: 200, header: headers("Content-Type", "audio/wav", "ETag", `"1"`), body: "\xff"}},
		"parts":                   {"GET", sound, canned{status: 206, header: headers("Content-Type", "multipart/byteranges; boundary=x", "ETag", `"1"`), body: "\xff"}},
		"nothing new":             {"GET", sound, canned{status: 304, header: headers("Content-Type", "", "ETag", `"1"`)}},
		"a body that breaks off":  {"DELETE", one, canned{status: 200, header: headers(), body: good[:20], fails: io.ErrUnexpectedEOF}},
		"what is not of the API":  {"GET", "/docs", canned{status: 200, header: http.Header{}, body: "<html>"}},
		"a wait that was told of": {"DELETE", one, canned{status: 429, header: headers("Retry-After", "3"), body: refused}},
	} {
		if body, err := ask(t, c.method, c.path, c.canned); err != nil || body != c.body {
			t.Errorf("%s: %q, %v", name, body, err)
		}
	}
}

func TestAnAnswerThatIsNotAsDocumentedIsToldOfByOperationStatusAndPlace(t *testing.T) {
	const missing = `{"response":{"greenvn_id":"gvn_1","status":"deleted"}}`
	in := func(body, old, new string) string { return strings.Replace(body, old, new, 1) }
	for name, c := range map[string]struct {
		method, path string
		canned
		want string
	}{
		"a status": {"DELETE", one, canned{status: 202, header: headers(), body: good}, "greenvn-delete answered 202: the document does not list the status"},
		"a status of another operation": {"GET", list, canned{status: 409, header: headers(), body: refused},
			"greenvn-list answered 409: the document does not list the status"},
		"an operation that nobody documented": {"GET", "/v1/what", canned{status: 200, header: headers(), body: good},
			"no operation answered 200: the document does not list the status"},
		"another way to refuse": {"GET", "/v1/what", canned{status: 404, header: headers(), body: "{}"}, "no operation answered 404: body# lacks error"},
		"a media type": {"DELETE", one, canned{status: 200, header: headers("Content-Type", "text/html"), body: good},
			"greenvn-delete answered 200: its Content-Type is none of application/json"},
		"no media type":    {"DELETE", one, canned{status: 200, header: headers("Content-Type", ""), body: good}, "greenvn-delete answered 200: its Content-Type is none of application/json"},
		"a missing header": {"DELETE", one, canned{status: 401, header: headers(), body: refused}, "greenvn-delete answered 401: its header WWW-Authenticate is missing"},
		"a wait of none":   {"DELETE", one, canned{status: 503, header: headers("Retry-After", "0"), body: refused}, "greenvn-delete answered 503: its header Retry-After is not as documented"},
		"a wait in words":  {"DELETE", one, canned{status: 503, header: headers("Retry-After", "soon"), body: refused}, "greenvn-delete answered 503: its header Retry-After is not as documented"},
		"a header twice": {"DELETE", one, canned{status: 200, header: http.Header{"Content-Type": {"application/json"}, "X-Request-Id": {"a", "b"}, "Ratelimit-Limit": {"9"},
			"Ratelimit-Remaining": {"8"}, "Ratelimit-Reset": {"0"}}, body: good}, "greenvn-delete answered 200: its header X-Request-Id comes more than once"},
		"a missing field": {"DELETE", one, canned{status: 200, header: headers(), body: missing}, "greenvn-delete answered 200: body#/response lacks deleted_at"},
		"a type": {"DELETE", one, canned{status: 200, header: headers(), body: in(good, `"gvn_1"`, "919900000001")},
			"greenvn-delete answered 200: body#/response/greenvn_id is of type number, documented is string"},
		"null":       {"DELETE", one, canned{status: 200, header: headers(), body: in(good, `"gvn_1"`, "null")}, "greenvn-delete answered 200: body#/response/greenvn_id is of type null, documented is string"},
		"a value":    {"DELETE", one, canned{status: 200, header: headers(), body: in(good, `"deleted"`, `"+919900000001"`)}, "greenvn-delete answered 200: body#/response/status is none of the values that the document lists"},
		"a code":     {"DELETE", one, canned{status: 404, header: headers(), body: in(refused, "not_found", "gone")}, "greenvn-delete answered 404: body#/error/code is none of the values that the document lists"},
		"a time":     {"DELETE", one, canned{status: 200, header: headers(), body: in(good, "2024-06-15T10:30:00+05:30", "+919900000001")}, "greenvn-delete answered 200: body#/response/deleted_at is no date-time"},
		"a field":    {"DELETE", one, canned{status: 200, header: headers(), body: in(good, `"status"`, `"more":1,"status"`)}, "greenvn-delete answered 200: body#/response has what the document does not name: more"},
		"a name":     {"DELETE", one, canned{status: 200, header: headers(), body: in(good, `"status"`, `"+919900000001":1,"status"`)}, "greenvn-delete answered 200: body#/response has what the document does not name: …"},
		"no JSON":    {"DELETE", one, canned{status: 200, header: headers(), body: good + "}"}, "greenvn-delete answered 200: its body is no JSON"},
		"no text":    {"DELETE", one, canned{status: 200, header: headers(), body: "\xff"}, "greenvn-delete answered 200: its body is not UTF-8"},
		"no table":   {"GET", calls, canned{status: 200, header: headers("Content-Type", "text/csv"), body: "a,b\r\n1\r\n"}, "calls-csv answered 200: its body is no table"},
		"a body":     {"GET", sound, canned{status: 304, header: headers("ETag", `"1"`), body: "x"}, "recording-get answered 304: it has a body, the document none"},
		"no tag":     {"GET", sound, canned{status: 200, header: headers("Content-Type", "audio/wav")}, "recording-get answered 200: its header ETag is missing"},
		"an event":   {"GET", stream, canned{status: 200, header: headers("Content-Type", "text/event-stream"), body: event + in(event, "evt_1\"", "evt_2\",\"more\":\"x\"")}, "events-stream answered 200: body#/data has what the document does not name: more"},
		"words":      {"GET", stream, canned{status: 200, header: headers("Content-Type", "text/event-stream"), body: in(event, "data: {", "data: ")}, "events-stream answered 200: body#/data is no JSON"},
		"an id less": {"GET", stream, canned{status: 200, header: headers("Content-Type", "text/event-stream"), body: in(event, "id: 1\n", "")}, "events-stream answered 200: body# lacks id"},
	} {
		body, err := ask(t, c.method, c.path, c.canned)
		if err == nil || err.Error() != c.want || body != c.body {
			t.Errorf("%s: %q, %v, want %s", name, body, err, c.want)
		}
	}
}

func TestADocumentThatCannotBeHeldToIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":                    `{`,
		"a status for the others":    `{"paths":{"/a":{"get":{"responses":{"default":{}}}}}}`,
		"a schema that is none":      `{"paths":{"/a":{"get":{"responses":{"200":{"content":{"application/json":{"schema":{"type":7}}}}}}}}}`,
		"a schema that is elsewhere": `{"paths":{"/a":{"get":{"responses":{"200":{"content":{"application/json":{"schema":{"type":"object","properties":{"a":{"$ref":"#/b"}}}}}}}}}}}`,
	} {
		if _, err := contract.Parse([]byte(text)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	text, err := api.OpenAPI()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := contract.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAnAnswer(b *testing.B) {
	d, err := contract.API()
	if err != nil {
		b.Fatal(err)
	}
	transport := d.Watch(canned{status: 200, header: headers(), body: good}, func(err error) { b.Error(err) })
	req, err := http.NewRequest("DELETE", "http://127.0.0.1"+one, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := transport.RoundTrip(req); err != nil {
			b.Fatal(err)
		}
	}
}
