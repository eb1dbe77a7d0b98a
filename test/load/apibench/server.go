package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tandem/internal/client"
	"tandem/internal/control"
	"tandem/internal/store/sqlite"
	"tandem/internal/web/api"
)

// runServer serves until ctx is done, and says first where, with which
// credentials and which allocation is there to be read.
func runServer(ctx context.Context, kind string, out io.Writer) error {
	switch kind {
	case "bare":
		return serve(ctx, bare(), out, "bench", "secret", "gvn_abc123")
	case "tandem":
		return tandem(ctx, out)
	}
	return fmt.Errorf("no server is called %q", kind)
}

func serve(ctx context.Context, h http.Handler, out io.Writer, user, password, id string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute}
	go func() { _ = s.Serve(l) }() // Close ends it
	fmt.Fprintln(out, l.Addr(), base64.StdEncoding.EncodeToString([]byte(user+":"+password)), id)
	<-ctx.Done()
	return s.Close()
}

// bare checks credentials, reads a body as JSON, and answers what Tandem would.
func bare() http.Handler {
	const got = `{"response":{"greenvn_id":"gvn_0681mh24g013ab0v0tfejr4cb0","virtual_number":"+914000000001","from":["+919900000001"],"to":["+918800000002"],"status":"active","record":true,"custom_field":"order_id=ORD-20240615","call_count":0,"created_at":"2024-06-15T10:30:00+05:30","expires_at":"2024-06-16T10:30:00+05:30"}}` + "\n"
	mux := http.NewServeMux()
	authorized := func(w http.ResponseWriter, r *http.Request) bool {
		user, password, ok := r.BasicAuth()
		if ok && subtle.ConstantTimeCompare([]byte(user), []byte("bench"))&subtle.ConstantTimeCompare([]byte(password), []byte("secret")) == 1 {
			return true
		}
		w.WriteHeader(http.StatusUnauthorized)
		return false
	}
	mux.HandleFunc("GET /v1/tenants/{tenant_id}/greenvn/{greenvn_id}", func(w http.ResponseWriter, r *http.Request) {
		if authorized(w, r) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, got)
		}
	})
	mux.HandleFunc("POST /v1/tenants/{tenant_id}/greenvn", func(w http.ResponseWriter, r *http.Request) {
		if !authorized(w, r) {
			return
		}
		var body api.CreateBody
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, got)
	})
	return mux
}

// tandem is the whole API on a database in a temporary folder. It logs as in
// production, one line a request, to nowhere.
func tandem(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "apibench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	db, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(dir, "bench.db"), Log: log})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	plane, err := control.New(control.Options{Store: db, Clock: time.Now, Random: rand.Reader, Log: log, TokenKey: make([]byte, 32), TrunkSecrets: noTrunks{}, WebhookSecrets: noTrunks{}})
	if err != nil {
		return err
	}
	handler, err := api.New(api.Options{Plane: plane, AdminToken: "bench", Clock: time.Now, Random: rand.Reader, Log: log})
	if err != nil {
		return err
	}
	made, id, err := prepare(ctx, handler)
	if err != nil {
		return err
	}
	return serve(ctx, handler, out, made.AccountSID, made.Token, id)
}

// noTrunks seals the passwords of trunks, of which this server has none.
type noTrunks struct{}

func (noTrunks) Seal(string, string) []byte { panic("no trunk is made here") }

// prepare makes the tenant, his numbers and the allocation that is read.
func prepare(ctx context.Context, handler http.Handler) (client.Credentials, string, error) {
	server := httptest.NewServer(handler)
	defer server.Close()
	operator, err := client.New(client.Options{BaseURL: server.URL, AdminToken: "bench"})
	if err != nil {
		return client.Credentials{}, "", err
	}
	made, err := operator.CreateTenant(ctx, client.NewTenant{TenantID: "bench",
		TenantChange: client.TenantChange{RateLimit: &client.RateLimit{PerSecond: 100_000, Burst: 1_000_000}}})
	if err != nil {
		return made, "", err
	}
	numbers := []client.NewNumber{{Number: "+914000000001", Sharing: "shared"}, {Number: "+914000000002"}}
	if _, err := operator.AddNumbers(ctx, "bench", numbers); err != nil {
		return made, "", err
	}
	tenant, err := client.New(client.Options{BaseURL: server.URL, AccountSID: made.AccountSID, Token: made.Token})
	if err != nil {
		return made, "", err
	}
	a, err := tenant.CreateAllocation(ctx, "bench", client.NewAllocation{CallerIDNumber: "+914000000002",
		From: []string{"+919900000001"}, To: []string{"+918800000002"}, Record: true, CustomField: strings.Repeat("x", 21)})
	return made, a.GreenVNID, err
}
