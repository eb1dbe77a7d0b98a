// Package api is the HTTP API: routes, the JSON that goes in and out, the
// envelope of answers and errors, and the order in which a request is judged:
// request id, authentication, rate limit, idempotency, use case.
//
// The five GreenVN operations follow the published page; docs/compatibility.md
// says what is published and what is our rule. A body becomes domain values at
// once (control, masking); what is decided is decided there. problem.go is the
// one place where a kind of refusal becomes a status.
//
// The OpenAPI document comes from the same declarations that route and
// describe the requests; api/openapi.json in the project is that document, and
// a test compares the two.
//
//go:generate go test -count=1 -run ^TestTheDocumentIsTheOneInTheProject$ . -update
package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"tandem/internal/control"
	"tandem/internal/masking"
	"tandem/internal/web/auth"
	"tandem/internal/web/ratelimit"
)

const (
	maxBody  = 64 << 10 // bytes of a request body
	maxAudio = 1 << 20  // bytes of a sound

	// Requests from one source that prove nobody, before they are answered 429
	// rather than 401. Whoever is right is not counted.
	attemptsPerSecond = 5
	attemptsAtOnce    = 50

	limitedSources = 10_000
)

// Options are what the API stands on. Plane, AdminToken, Clock, Random and Log
// are required; the hooks may be nil.
type Options struct {
	Plane      *control.Plane
	AdminToken string
	Clock      func() time.Time
	Random     io.Reader // for request ids; safe for concurrent use
	Log        *slog.Logger
	// Draining tells whether this node takes no new work. Then creating an
	// allocation is 503; everything else answers as ever.
	Draining func() bool
	// Leaving is closed when this node begins to stop: streams end then, and their
	// clients go on at another node. nil: never.
	Leaving <-chan struct{}
	// Heartbeat is how often a stream says that it is there; 0 = 10 s.
	Heartbeat time.Duration
	// TrunkHealth gives what is known of a trunk now, as JSON will show it; nil
	// for nothing.
	TrunkHealth func(name string) any
	// Rates are those of tenants; nil: this process counts them alone.
	Rates *ratelimit.Shared
	// Observe is told of every answered request. The operation is one of a
	// closed list, or "none".
	Observe func(operation string, status int, took time.Duration)
	// Version of the program, told by the served OpenAPI document as x-release;
	// "" leaves it out.
	Version string
}

// server is the API as it runs.
type server struct {
	Options
	guard    *auth.Guard
	sources  *ratelimit.Memory[netip.Prefix]
	attempts ratelimit.Limit
	streams  streams
	mux      *http.ServeMux
}

// New makes the handler of everything under /v1, /openapi.json and /docs.
func New(o Options) (http.Handler, error) {
	if o.Plane == nil || o.Clock == nil || o.Random == nil || o.Log == nil || o.AdminToken == "" {
		return nil, errors.New("the API needs a control plane, a clock, randomness, a log and an admin token")
	}
	s := &server{Options: o, mux: http.NewServeMux(), streams: streams{of: map[masking.TenantID]int{}},
		sources: ratelimit.NewMemory[netip.Prefix](limitedSources)}
	if s.Heartbeat <= 0 {
		s.Heartbeat = heartbeat
	}
	if s.Rates == nil {
		s.Rates = ratelimit.NewShared(nil)
	}
	var err error
	if s.attempts, err = ratelimit.NewLimit(attemptsPerSecond, attemptsAtOnce); err != nil {
		return nil, fmt.Errorf("limit of attempts: %w", err)
	}
	s.guard, err = auth.New(auth.Options{Tenant: o.Plane.Tokens.Authenticate, Issued: o.Plane.Tokens.Issued,
		AdminToken: o.AdminToken, Failed: s.failed, Clock: o.Clock})
	if err != nil {
		return nil, err
	}
	s.docs(s.routes().document)
	return s, nil
}

// OpenAPI gives the OpenAPI 3.1 document of the API, indented for reading and
// for diffs.
func OpenAPI() ([]byte, error) {
	s := &server{mux: http.NewServeMux()}
	return s.routes().document()
}

func (s *server) failed(source netip.Prefix, now time.Time) (time.Duration, bool) {
	d := s.sources.Take(source, s.attempts, now)
	return d.RetryAfter, d.Allowed
}

// router is where operations are declared.
type router struct {
	*server
	huma.API
}

// routes declares every operation on the mux.
func (s *server) routes() *router {
	adoptEnvelope()
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{Title: "Tandem", Version: "v1",
				Description: "Number masking. The GreenVN operations are those of the published page; everything else is additive."},
			Components: &huma.Components{
				Schemas:   huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				Responses: documentedRefusals(),
				Headers:   documentedHeaders(),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					tenantScheme:   {Type: "http", Scheme: "basic", Description: "Account SID and token of the tenant"},
					operatorScheme: {Type: "http", Scheme: "bearer", Description: "the operator's admin token"},
				},
			},
			OnAddOperation: []huma.AddOpFunc{dropUnprocessable, allowNoBody, documentAnswers},
		},
		Formats:       map[string]huma.Format{"application/json": {Marshal: marshal, Unmarshal: unmarshal}},
		DefaultFormat: "application/json",
	}
	if s.Version != "" {
		config.Info.Extensions = map[string]any{"x-release": s.Version}
	}
	config.AllowAdditionalPropertiesByDefault = true // unknown fields are ignored
	r := &router{s, huma.NewAPI(config, adapter{s})}
	r.greenvn()
	r.greenpin()
	r.settings()
	r.blockedCallers()
	r.capacityRoutes()
	r.records()
	r.streamRoutes()
	r.routeRoutes()
	r.recordings()
	r.prompts()
	r.webhooks()
	r.tenantRoutes()
	r.numberRoutes()
	r.trunkRoutes()
	r.nodeRoutes()
	r.auditRoutes()
	r.erasures()
	s.mux.HandleFunc("/", s.noRoute)
	for _, schema := range r.OpenAPI().Components.Schemas.Map() {
		simplify(schema)
	}
	return r
}

// simplify says of a schema what holds for the whole API: a field that has
// nothing to say is left out, and null is nobody's value. huma takes every
// pointer and list of Go for one that may be null. And what a schema does not name
// is ignored, which is so where it says nothing of it; one that says it makes
// generators of clients take every object for a map, and every misspelt field.
func simplify(schema *huma.Schema) {
	schema.Nullable = false
	if schema.AdditionalProperties == true {
		schema.AdditionalProperties = nil
	}
	for _, property := range schema.Properties {
		simplify(property)
	}
	if schema.Items != nil {
		simplify(schema.Items)
	}
}

// dropUnprocessable takes 422 out of the document: what is wrong as written is
// 400 here.
func dropUnprocessable(_ *huma.OpenAPI, op *huma.Operation) { delete(op.Responses, "422") }

// bodyOptional marks an operation whose body may be left out.
const bodyOptional = "body optional"

func allowNoBody(_ *huma.OpenAPI, op *huma.Operation) {
	if op.Metadata[bodyOptional] != nil {
		op.RequestBody.Required = false
	}
}

// document gives the OpenAPI document.
func (r *router) document() ([]byte, error) {
	compact, err := json.Marshal(r.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, compact, "", "  "); err != nil {
		return nil, fmt.Errorf("indent the OpenAPI document: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// adapter puts huma's operations onto our mux, each behind the guard that its
// declared security asks for: what the document says is what is enforced.
type adapter struct{ *server }

// Handle is called by huma for each operation.
func (a adapter) Handle(op *huma.Operation, serve func(huma.Context)) {
	a.mux.HandleFunc(op.Method+" "+op.Path, a.guarded(op, func(w http.ResponseWriter, r *http.Request) {
		serve(humago.NewContext(op, r, w))
	}))
}

// ServeHTTP is part of huma.Adapter.
func (a adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// noRoute answers what no operation matches: 404, or 400 with Allow if the path
// exists under another method (the published page knows no 405).
func (s *server) noRoute(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		probe := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := s.mux.Handler(probe); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		s.refuse(w, r, masking.ErrNotFound())
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	s.refuse(w, r, &masking.Error{Kind: masking.Invalid, Code: codeMethodNotAllowed, Message: "this resource has no such method"})
}
