package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/internal/control"
	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/web/auth"
	"tandem/internal/web/ratelimit"
)

// The security schemes of the document.
const (
	tenantScheme   = "tenant"
	operatorScheme = "operator"
)

// exchange is one request on its way and what is known of it so far. The
// goroutine that serves the request owns it.
type exchange struct {
	http.ResponseWriter
	id        string // X-Request-Id
	operation string // "none" until a route matched
	tenant    masking.Tenant
	by        control.Origin // who asks for what, once that is judged
	body      []byte
	key       string // Idempotency-Key
	digest    [32]byte
	status    int // 0 until the header is written
}

// WriteHeader notes the status for the log.
func (e *exchange) WriteHeader(status int) {
	if e.status == 0 {
		e.status = status
	}
	e.ResponseWriter.WriteHeader(status)
}

// Write sends 200 first if nothing else was sent.
func (e *exchange) Write(b []byte) (int, error) {
	if e.status == 0 {
		e.status = http.StatusOK
	}
	return e.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (e *exchange) Unwrap() http.ResponseWriter { return e.ResponseWriter }

type exchangeKey struct{}

// exchangeOf gives the exchange that ctx belongs to; every handler runs in one.
func exchangeOf(ctx context.Context) *exchange {
	e, _ := ctx.Value(exchangeKey{}).(*exchange)
	if e == nil {
		return &exchange{operation: "none"} // only while the document is made
	}
	return e
}

// ServeHTTP takes a request in: it gives it an id, routes it, and writes its
// one line in the log. The line names the operation and never the path or the
// query, which may hold a number.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	e := &exchange{ResponseWriter: w, id: s.requestID(r), operation: "none"}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, e))
	h := w.Header()
	h.Set("X-Request-Id", e.id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	defer func() {
		if cause := recover(); cause != nil {
			s.panicked(e, r, cause)
		}
		took := time.Since(start)
		s.Log.LogAttrs(r.Context(), levelOf(e.status), "request", requestAttrs(e, r, took)...)
		if s.Observe != nil {
			s.Observe(e.operation, e.status, took)
		}
	}()
	if clean := path.Clean(r.URL.Path); clean != r.URL.Path {
		s.refuse(e, r, masking.ErrNotFound()) // the mux would redirect
		return
	}
	s.mux.ServeHTTP(e, r)
}

// panicked answers 500 for a fault of ours. The value of a panic may hold
// anything, so the log gets its type and where it happened.
func (s *server) panicked(e *exchange, r *http.Request, cause any) {
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	s.Log.ErrorContext(r.Context(), "panic", "request", e.id, "operation", e.operation,
		"type", typeName(cause), "stack", string(debug.Stack()))
	if e.status == 0 {
		s.refuse(e, r, errInternal())
	}
}

// guarded judges a request before its operation sees it.
func (s *server) guarded(op *huma.Operation, next http.HandlerFunc) http.HandlerFunc {
	admit := func(http.ResponseWriter, *http.Request, *exchange) error { return nil }
	switch scheme := schemeOf(op); scheme {
	case tenantScheme:
		admit = s.admitTenant
	case operatorScheme:
		admit = s.admitOperator
	}
	takes := takesOf(op)
	jsonOnly := []string{"application/json"}
	return func(w http.ResponseWriter, r *http.Request) {
		e := exchangeOf(r.Context())
		e.operation = op.OperationID
		err := admit(w, r, e)
		if err == nil {
			err = e.take(w, r, takes)
		}
		if err != nil {
			hangUp(w, r)
			s.refuse(w, r, err)
			return
		}
		e.by = e.origin(op, r)
		r.Body = io.NopCloser(bytes.NewReader(e.body))
		r.Header["Content-Type"] = jsonOnly // judged already; huma knows it in one spelling
		next(w, r)
	}
}

func schemeOf(op *huma.Operation) string {
	for _, requirement := range op.Security {
		for scheme := range requirement {
			return scheme
		}
	}
	return ""
}

// admitTenant finds the tenant, counts the request against his rate, and
// refuses a path that is not his with the answer to an unknown one.
func (s *server) admitTenant(w http.ResponseWriter, r *http.Request, e *exchange) error {
	t, token, err := s.guard.Tenant(r)
	if err != nil {
		return authError(err, auth.BasicChallenge)
	}
	e.tenant = t
	e.by = control.Origin{Actor: string(token), Tenant: t.ID}
	if err := s.limit(r.Context(), w, t); err != nil {
		return err
	}
	if r.PathValue("tenant_id") != string(t.ID) {
		return masking.ErrNotFound()
	}
	return nil
}

func (s *server) admitOperator(_ http.ResponseWriter, r *http.Request, e *exchange) error {
	if err := s.guard.Admin(r); err != nil {
		return authError(err, auth.BearerChallenge)
	}
	e.by = control.Origin{Actor: masking.Operator, Tenant: masking.TenantID(r.PathValue("tenant_id"))}
	return nil
}

// origin says for the audit log what a request is about: what its path names
// after the tenant, numbers hidden.
func (e *exchange) origin(op *huma.Operation, r *http.Request) control.Origin {
	by := e.by
	by.Action, by.Request = op.OperationID, e.id
	var named []string
	for _, p := range op.Parameters {
		if p.In != "path" || p.Name == "tenant_id" {
			continue
		}
		name := r.PathValue(p.Name)
		if n, err := e164.Parse(plus(name)); err == nil {
			name = n.Hidden()
		}
		named = append(named, name)
	}
	by.Object = strings.Join(named, "/")
	return by
}

// limit counts a request against its tenant's rate and says how it stands
// (RateLimit-* as draft-ietf-httpapi-ratelimit-headers-06 names them).
func (s *server) limit(ctx context.Context, w http.ResponseWriter, t masking.Tenant) error {
	rate := t.Settings.RateLimit
	limit, err := ratelimit.NewLimit(float64(rate.PerSecond), rate.Burst)
	if err != nil {
		return err // settings that masking's Check lets through do not come here
	}
	d := s.Rates.Take(ctx, "requests of "+string(t.ID), limit, s.Clock())
	h := w.Header()
	h["Ratelimit-Limit"] = []string{strconv.Itoa(rate.Burst)}
	h["Ratelimit-Remaining"] = []string{strconv.Itoa(d.Remaining)}
	h["Ratelimit-Reset"] = []string{strconv.FormatInt(wholeSeconds(d.Reset), 10)}
	if !d.Allowed {
		return &limited{d.RetryAfter}
	}
	return nil
}

// takes is what an operation reads of a request's body.
type takes struct {
	body  bool     // has one at all
	media []string // how it may be called
	most  int64    // bytes
	wrong string   // what is said to who calls it otherwise
}

// audioBody marks an operation whose body is a sound (see [takesOf]).
const audioBody = "audio body"

// takesOf tells what an operation takes: JSON, and no more of it than any request
// needs, unless it was declared to take a sound.
func takesOf(op *huma.Operation) takes {
	if op.Metadata[audioBody] != nil {
		return takes{body: true, media: audioMedia(), most: maxAudio, wrong: "the body must be a WAV file: send Content-Type: audio/wav"}
	}
	return takes{body: op.RequestBody != nil, media: []string{"application/json"}, most: maxBody,
		wrong: "the body must be JSON in UTF-8: send Content-Type: application/json"}
}

// audioMedia are the names under which WAV files go about.
func audioMedia() []string {
	return []string{"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave", "application/octet-stream"}
}

// hangUp closes the connection of one who is refused before his body was read and
// who still has more to send than a small one: it is not read on.
func hangUp(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength > maxBody || r.ContentLength < 0 {
		w.Header().Set("Connection", "close")
	}
}

// take reads the body and the Idempotency-Key. A body must say that it is
// what the operation takes, if it says anything; one that is compressed is
// refused, not unpacked.
func (e *exchange) take(w http.ResponseWriter, r *http.Request, t takes) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if err := e.takeKey(r.Header["Idempotency-Key"]); err != nil {
		return err
	}
	if t.body {
		if err := t.check(r.Header); err != nil {
			return err
		}
	}
	body, err := readBody(w, r, t.most)
	if err != nil {
		return err
	}
	e.body = body
	if e.key != "" {
		h := sha256.New()
		_, _ = io.WriteString(h, r.Method+"\n"+r.URL.RequestURI()+"\n")
		h.Write(body)
		h.Sum(e.digest[:0])
	}
	return nil
}

// takeKey reads an Idempotency-Key: 1 to 255 visible ASCII characters.
func (e *exchange) takeKey(values []string) error {
	if len(values) == 0 {
		return nil
	}
	e.key = values[0]
	ok := len(values) == 1 && len(e.key) >= 1 && len(e.key) <= 255
	for i := 0; ok && i < len(e.key); i++ {
		ok = e.key[i] > ' ' && e.key[i] < 0x7f
	}
	if !ok {
		return invalidField("Idempotency-Key", "Idempotency-Key must be 1 to 255 visible ASCII characters")
	}
	return nil
}

func (t takes) check(h http.Header) error {
	if ct := h.Get("Content-Type"); ct != "" {
		media, params, err := mime.ParseMediaType(ct)
		charset := params["charset"]
		if err != nil || !slices.Contains(t.media, media) || (charset != "" && !equalFold(charset, "utf-8")) {
			return invalidBody(t.wrong)
		}
	}
	if enc := h.Get("Content-Encoding"); enc != "" && !equalFold(enc, "identity") {
		return invalidBody("the body must not be compressed")
	}
	return nil
}

// readBody reads at most so many bytes. The connection of one who sends more is
// closed instead of read on; MaxBytesReader cannot see to that, since w is not
// the server's own.
func readBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		w.Header().Set("Connection", "close")
		return nil, invalidBody("the body must be at most " + strconv.FormatInt(most, 10) + " bytes")
	case err != nil:
		return nil, invalidBody("the body ended before its time")
	}
	return body, nil
}

// requestID accepts the client's id if it is fit for a log line, or makes one.
func (s *server) requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); fitForLog(id) {
		return id
	}
	var random [16]byte
	if _, err := io.ReadFull(s.Random, random[:]); err != nil {
		return "req_unknown"
	}
	return "req_" + hex.EncodeToString(random[:])
}

// fitForLog accepts 1 to 64 letters, digits, hyphens, underscores and dots. It
// refuses what could hold a telephone number: 7 digits or more in a row, with
// or without separators between them. A UUID, which often has as many, is
// accepted unless its last group, where a number would fit, is all digits.
func fitForLog(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	digits, longest := 0, 0
	for i := range len(id) {
		switch c := id[i]; {
		case '0' <= c && c <= '9':
			digits++
			longest = max(longest, digits)
		case c == '-' || c == '_' || c == '.':
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
			digits = 0
		default:
			return false
		}
	}
	return longest < 7 || (uuidPattern.MatchString(id) && strings.ContainsAny(id[24:], "abcdefABCDEF"))
}

// uuidPattern is that of RFC 9562 §4, with the versions and the variant that
// it defines.
var uuidPattern = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$`)
