package api_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/control"
	"tandem/internal/masking"
	"tandem/internal/store/sqlite"
	"tandem/internal/testkit/contract"
	"tandem/internal/testkit/database"
	"tandem/internal/web/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	adminToken = "tda_for-tests-only"
	vn1        = "+914000000001" // exclusive
	vn2        = "+914000000002" // exclusive
	shared1    = "+914000000011" // shared
	shared2    = "+914000000012" // shared
	alice      = "+919900000001"
	bob        = "+918800000002"
	carol      = "+917700000003"
	dave       = "+916600000004"
)

// harness is the whole API on a real database behind a real server.
type harness struct {
	testing.TB
	server  *httptest.Server
	handler http.Handler
	store   *sqlite.Store
	plane   *control.Plane
	path    string // of the database
	logs    *lockedBuffer
	ended   *endings
	sounds  *sounds
	routing *routing
	leaving chan struct{} // closed by a test: the server begins to stop
	streams chan struct{} // told when a stream has ended
	sender  *sender

	mu       sync.Mutex
	now      time.Time
	draining bool
	calls    int     // that were made up
	wrong    []error // answers that are not as documented

	sid, token string // of tenant acme
}

// lockedBuffer collects log lines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// endings notes what the voice plane is told.
type endings struct {
	mu   sync.Mutex
	told []string
}

func (e *endings) AllocationEnded(id masking.AllocationID, terminate bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, fmt.Sprintf("%s %v", id, terminate))
}

func (e *endings) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.told...)
}

// publishedTime is when the published example creates its allocation.
var publishedTime = time.Date(2024, 6, 15, 10, 30, 0, 0, time.FixedZone("", 19800))

func newHarness(t testing.TB) *harness {
	t.Helper()
	h := &harness{TB: t, logs: &lockedBuffer{}, ended: &endings{}, sounds: &sounds{files: map[string]string{}}, routing: &routing{}, sender: &sender{}, now: publishedTime,
		leaving: make(chan struct{}), streams: make(chan struct{}, 64)}
	log := slog.New(slog.NewJSONHandler(h.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	h.path = filepath.Join(t.TempDir(), "api.db")
	h.store = database.Open(t, sqlite.Options{Path: h.path, Log: log, Synchronous: sqlite.Normal})
	h.plane, err = control.New(control.Options{TrunkSecrets: sealer{}, WebhookSecrets: sealer{}, Sender: h.sender, Store: h.store, Clock: h.clock, Random: rand.Reader, Calls: h.ended, Log: log,
		TokenKey: bytes.Repeat([]byte{7}, 32), Languages: []string{"en", "hi"}, Announcements: announcements{}, Sounds: h.sounds, Routing: h.routing,
		StrangerSecret: func(t masking.TenantID) string { return "whsec_" + string(t) }})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := api.New(api.Options{Plane: h.plane, AdminToken: adminToken, Clock: h.clock, Random: rand.Reader, Log: log,
		Draining: func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.draining },
		Leaving:  h.leaving, Heartbeat: 300 * time.Millisecond, Observe: h.observe,
		TrunkHealth: func(name string) any { return map[string]string{"state": "up", "asked": name} }})
	if err != nil {
		t.Fatal(err)
	}
	h.handler = handler
	h.server = httptest.NewUnstartedServer(handler)
	h.server.Config.ReadTimeout, h.server.Config.WriteTimeout = 10*time.Second, 10*time.Second
	h.server.Start()
	document, err := contract.API()
	if err != nil {
		t.Fatal(err)
	}
	h.server.Client().Transport = document.Watch(h.server.Client().Transport, h.note)
	t.Cleanup(func() {
		if err := h.undocumented(); err != nil {
			t.Error(err)
		}
		h.server.Close()
		h.server.Client().CloseIdleConnections()
		if err := h.store.Close(); err != nil {
			t.Error(err)
		}
	})
	h.sid, h.token = h.tenant("acme")
	h.numbers("acme", vn1, "exclusive", vn2, "exclusive", shared1, "shared", shared2, "shared")
	return h
}

func (h *harness) observe(operation string, _ int, _ time.Duration) {
	if operation == "events-stream" {
		h.streams <- struct{}{}
	}
}

func (h *harness) note(wrong error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrong = append(h.wrong, wrong)
}

// undocumented tells which answers since it was last asked were not as documented.
func (h *harness) undocumented() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := errors.Join(h.wrong...)
	h.wrong = nil
	return err
}

func (h *harness) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// at sets the clock to a time of the published page's day.
func (h *harness) at(clock string) {
	h.Helper()
	t, err := time.Parse(time.RFC3339, "2024-06-15T"+clock+"+05:30")
	if err != nil {
		h.Fatal(err)
	}
	h.set(t)
}

func (h *harness) set(t time.Time) {
	h.mu.Lock()
	h.now = t
	h.mu.Unlock()
}

func (h *harness) pass(d time.Duration) { h.set(h.clock().Add(d)) }

func (h *harness) drain(on bool) {
	h.mu.Lock()
	h.draining = on
	h.mu.Unlock()
}

// tenant makes a tenant with a rate that no test meets by accident.
func (h *harness) tenant(id string) (sid, token string) {
	h.Helper()
	a := h.admin("POST", "/v1/admin/tenants", `{"tenant_id":"`+id+`","name":"T","rate_limit":{"per_second":100000,"burst":1000000}}`)
	a.want(201)
	return a.text("account_sid"), a.text("token")
}

// numbers adds numbers, each followed by its sharing mode.
func (h *harness) numbers(tenant string, pairs ...string) {
	h.Helper()
	var items []string
	for i := 0; i < len(pairs); i += 2 {
		items = append(items, fmt.Sprintf(`{"number":%q,"sharing":%q,"region":"AP","type":"landline"}`, pairs[i], pairs[i+1]))
	}
	h.admin("POST", "/v1/admin/tenants/"+tenant+"/numbers", `{"numbers":[`+strings.Join(items, ",")+`]}`).want(201)
}

// answer is what came back.
type answer struct {
	*harness
	request string
	status  int
	header  http.Header
	body    string
	closing bool           // the connection
	fields  map[string]any // of "response" or "error"
}

// option changes a request.
type option func(*http.Request)

func header(name, value string) option { return func(r *http.Request) { r.Header.Set(name, value) } }

func as(sid, token string) option { return func(r *http.Request) { r.SetBasicAuth(sid, token) } }

// do sends a request as the tenant acme.
func (h *harness) do(method, path, body string, options ...option) *answer {
	h.Helper()
	a, err := h.try(method, path, body, append([]option{as(h.sid, h.token)}, options...)...)
	if err != nil {
		h.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// own sends a request below acme's path.
func (h *harness) own(method, path, body string, options ...option) *answer {
	h.Helper()
	return h.do(method, "/v1/tenants/acme"+path, body, options...)
}

// admin sends a request as the operator.
func (h *harness) admin(method, path, body string, options ...option) *answer {
	h.Helper()
	return h.do(method, path, body, append([]option{header("Authorization", "Bearer "+adminToken)}, options...)...)
}

// try sends a request; it may be called from any goroutine.
func (h *harness) try(method, path, body string, options ...option) (*answer, error) {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, h.server.URL+path, reader)
	if err != nil {
		return nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, o := range options {
		o(req)
	}
	resp, err := h.server.Client().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	a := &answer{harness: h, request: method + " " + path, status: resp.StatusCode, header: resp.Header, body: string(b), closing: resp.Close}
	var outer map[string]json.RawMessage
	if json.Unmarshal(b, &outer) == nil {
		for _, key := range []string{"response", "error"} {
			if raw, ok := outer[key]; ok {
				_ = json.Unmarshal(raw, &a.fields)
			}
		}
	}
	if a.header.Get("X-Request-Id") == "" { // not only where the document says so
		return nil, errors.New("no X-Request-Id in the answer")
	}
	return a, h.undocumented()
}

// want fails the test unless the status is this.
func (a *answer) want(status int) *answer {
	a.Helper()
	if a.status != status {
		a.Fatalf("%s: status %d, want %d: %s", a.request, a.status, status, a.body)
	}
	return a
}

// refused fails the test unless the answer is this refusal; field "" is none.
func (a *answer) refused(status int, code, field string) *answer {
	a.Helper()
	a.want(status)
	if got := a.text("code"); got != code || a.text("field") != field {
		a.Errorf("%s: code %q field %q, want %q %q: %s", a.request, got, a.text("field"), code, field, a.body)
	}
	if a.text("request_id") == "" || a.text("message") == "" {
		a.Errorf("%s: an incomplete error: %s", a.request, a.body)
	}
	return a
}

func (a *answer) text(field string) string {
	s, _ := a.fields[field].(string)
	return s
}

var allocationIDs = regexp.MustCompile(`(gvn|gp)_[0-9a-z]{26}`)

// exactly fails the test unless the body is this, but for identifiers.
func (a *answer) exactly(want string) *answer {
	a.Helper()
	if got := allocationIDs.ReplaceAllString(strings.TrimSuffix(a.body, "\n"), "${1}_abc123"); got != want {
		a.Errorf("%s:\n got %s\nwant %s", a.request, got, want)
	}
	return a
}

// create makes an allocation and gives its id.
func (h *harness) create(vn, from, to string) string {
	h.Helper()
	return h.own("POST", "/greenvn", body(vn, from, to)).want(201).text("greenvn_id")
}

// body asks for an allocation of one number a side; more are comma-separated.
func body(vn, from, to string) string {
	return fmt.Sprintf(`{"caller_id_number":%q,"from":%s,"to":%s}`, vn, listOf(from), listOf(to))
}

func listOf(numbers string) string {
	b, _ := json.Marshal(strings.Split(numbers, ","))
	return string(b)
}

// sealer seals so that a test can see what it sealed.
type sealer struct{}

func (sealer) Seal(of, secret string) []byte { return []byte(of + " keeps " + secret) }
