// Package world starts a whole server in the test's process, on free ports of
// loopback and a temporary folder, and sets it up over HTTP as an operator would.
// It is for the tests and benchmarks below test/.
package world

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"tandem/internal/app"
	"tandem/internal/client"
	"tandem/internal/config"
	"tandem/internal/testkit/contract"
	"tandem/internal/testkit/database"
	"tandem/internal/testkit/postgres"
	"tandem/internal/voice/phone"
)

// World is a running server and the credentials for it.
type World struct {
	App     *app.App
	Dir     string
	Log     *Log
	HTTP    *http.Client // asks the server; what it answers is held to the OpenAPI document
	options app.Options
	tenants map[string]Tenant

	mu    sync.Mutex
	wrong []error // answers that were not as documented
}

// Tenant is a tenant's credentials.
type Tenant struct{ ID, AccountSID, Token string }

// Options changes what a world is made of.
type Options struct {
	Environ []string           // TANDEM_… settings besides the defaults of a world
	Edit    func(*app.Options) // last word on the app's options
	Dir     string             // an earlier world's folder; "" makes a new one
}

// ownDatabase has a world on another engine than SQLite (postgres.DSN): it makes the
// database of a folder, unless there is one, and gives its URL.
func ownDatabase(dsn, folder string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("%s: no URL", postgres.DSN)
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	name := strings.ReplaceAll(folder, "-", "_")
	u.Path = "/" + name
	var have int
	if err := conn.QueryRow(ctx, `SELECT COUNT(*) FROM pg_database WHERE datname = $1`, name).Scan(&have); err != nil || have > 0 {
		return u.String(), err
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	return u.String(), err
}

// Notify is the setting that tests give servers on PostgreSQL, if it is in their own
// environment.
const Notify = "TANDEM_DATABASE_NOTIFY"

// dropDatabase removes what ownDatabase made.
func dropDatabase(dsn, folder string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{strings.ReplaceAll(folder, "-", "_")}.Sanitize())
	return err
}

// Start starts a server. Close it.
func Start(o Options) (*World, error) {
	w := &World{Dir: o.Dir, Log: &Log{}, tenants: map[string]Tenant{}}
	document, err := contract.API()
	if err != nil {
		return nil, err
	}
	w.HTTP = &http.Client{Transport: document.Watch(http.DefaultTransport, w.note)}
	if w.Dir == "" {
		dir, err := os.MkdirTemp("", "tandem-world-")
		if err != nil {
			return nil, err
		}
		w.Dir = dir
	}
	environ := append([]string{"TANDEM_DATA_DIR=" + w.Dir, "TANDEM_HTTP_LISTEN=127.0.0.1:0", "TANDEM_OPS_LISTEN=127.0.0.1:0",
		"TANDEM_SIP_LISTEN=udp://127.0.0.1:0,tcp://127.0.0.1:0", "TANDEM_MEDIA_PORTS=0"}, o.Environ...)
	if dsn := os.Getenv(postgres.DSN); dsn != "" {
		url, err := ownDatabase(dsn, filepath.Base(w.Dir))
		if err != nil {
			return nil, err
		}
		environ = append([]string{"TANDEM_DATABASE_URL=" + url}, environ...)
		if notify := os.Getenv(Notify); notify != "" {
			environ = append([]string{Notify + "=" + notify}, environ...)
		}
	}
	c, err := config.Load(config.Sources{Environ: environ})
	if err != nil {
		return nil, err
	}
	w.options = app.Options{Config: c, Version: "test", Log: slog.New(slog.NewJSONHandler(w.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if o.Edit != nil {
		o.Edit(&w.options)
	}
	if path := w.options.Config.SQLitePath(); o.Dir == "" && path != "" {
		if err := database.Put(path); err != nil {
			return nil, err
		}
	}
	if w.App, err = app.Start(context.Background(), w.options); err != nil {
		return nil, err
	}
	return w, nil
}

// Close stops the server, hanging up what is left after grace, and removes its folder.
// It fails if an answer was not as documented.
func (w *World) Close(grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	errs := []error{w.App.Stop(ctx), os.RemoveAll(w.Dir)}
	if dsn := os.Getenv(postgres.DSN); dsn != "" && errors.Join(errs...) == nil {
		errs = append(errs, dropDatabase(dsn, filepath.Base(w.Dir)))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(append(errs, w.wrong...)...)
}

func (w *World) note(wrong error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, wrong)
}

// SIP is the server's SIP address for a network.
func (w *World) SIP(network string) netip.AddrPort {
	for _, a := range w.App.Addrs().SIP {
		if rest, ok := strings.CutPrefix(a, network+"://"); ok {
			return netip.MustParseAddrPort(rest)
		}
	}
	return netip.AddrPort{}
}

// Status is what an HTTP request came to, if not 2xx.
type Status struct {
	Code int
	Body string
}

func (s *Status) Error() string { return fmt.Sprintf("HTTP %d: %s", s.Code, s.Body) }

// Do sends a request as the admin (tenant "") or as a tenant, and decodes
// "response" into out unless that is nil.
func (w *World) Do(tenant, method, path string, body, out any) error {
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://"+w.App.Addrs().HTTP+path, send)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if tenant == "" {
		token, _ := w.App.AdminToken()
		req.Header.Set("Authorization", "Bearer "+token)
	} else {
		t := w.tenants[tenant]
		req.SetBasicAuth(t.AccountSID, t.Token)
	}
	res, err := w.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return &Status{res.StatusCode, string(b)}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, &struct {
		Response any `json:"response"`
	}{out})
}

// Tenant gives the credentials of a tenant that was made here.
func (w *World) Tenant(id string) Tenant { return w.tenants[id] }

// NewTenant makes a tenant with virtual numbers of one sharing mode. Its rate
// limit is out of the way of tests.
func (w *World) NewTenant(id, sharing string, numbers ...string) (Tenant, error) {
	var made struct {
		AccountSID string `json:"account_sid"`
		Token      string `json:"token"`
	}
	err := w.Do("", "POST", "/v1/admin/tenants", map[string]any{"tenant_id": id, "name": id,
		"rate_limit": map[string]int{"per_second": 100000, "burst": 100000}}, &made)
	if err != nil {
		return Tenant{}, err
	}
	t := Tenant{id, made.AccountSID, made.Token}
	w.tenants[id] = t
	return t, w.AddNumbers(id, sharing, numbers...)
}

// AddNumbers puts numbers into a tenant's pool.
func (w *World) AddNumbers(tenant, sharing string, numbers ...string) error {
	var list []map[string]string
	for _, n := range numbers {
		list = append(list, map[string]string{"number": n, "sharing": sharing})
	}
	if len(list) == 0 {
		return nil
	}
	return w.Do("", "POST", "/v1/admin/tenants/"+tenant+"/numbers", map[string]any{"numbers": list}, nil)
}

// AddTrunk makes a trunk and waits until the server uses it.
func (w *World) AddTrunk(name string, fields map[string]any) error {
	body := map[string]any{"name": name, "sources": []string{"127.0.0.1/32"}, "transport": "udp", "country": "IN",
		"number_format": "e164", "trust_identity": true, "options_seconds": 0, "priority": 1, "weight": 1, "caller_ids": []string{"*"}}
	for k, v := range fields {
		body[k] = v
	}
	if err := w.Do("", "POST", "/v1/admin/trunks", body, nil); err != nil {
		return err
	}
	return w.App.ReloadTrunks(context.Background())
}

// Allocation is what a created allocation is known by.
type Allocation struct {
	ID            string `json:"greenvn_id"`
	VirtualNumber string `json:"virtual_number"`
}

// Allocate maps from and to over a virtual number for a day.
func (w *World) Allocate(tenant, virtual string, from, to []string, more map[string]any) (Allocation, error) {
	body := map[string]any{"caller_id_number": virtual, "from": from, "to": to}
	for k, v := range more {
		body[k] = v
	}
	var a Allocation
	err := w.Do(tenant, "POST", "/v1/tenants/"+tenant+"/greenvn", body, &a)
	return a, err
}

// Pin is what a created GreenPin allocation is known by.
type Pin struct {
	ID  string `json:"greenpin_id"`
	PIN string `json:"pin"`
}

// OpenPin maps from and to behind a PIN on a virtual number, for a day.
func (w *World) OpenPin(tenant, virtual string, from, to []string, more map[string]any) (Pin, error) {
	body := map[string]any{"caller_id_number": virtual, "from": from}
	if len(to) > 0 {
		body["to"] = to
	}
	for k, v := range more {
		body[k] = v
	}
	var p Pin
	err := w.Do(tenant, "POST", "/v1/tenants/"+tenant+"/greenpin", body, &p)
	return p, err
}

// Call is a call record as the API shows it.
type Call struct {
	ID         string `json:"call_sid"`
	Status     string `json:"status"`
	Cause      string `json:"cause"`
	Reason     string `json:"reason"`
	From       string `json:"from"`
	To         string `json:"to"`
	Allocation string `json:"greenvn_id"`
	Pin        string `json:"greenpin_id"`
	LastKnown  bool   `json:"last_known_route"`
	Legs       []Leg  `json:"legs"` // only of a single call
	Ladder     Ladder `json:"ladder"`

	Quality *client.Quality `json:"quality"` // same, once an answered one has ended
}

// Ladder is a call's SIP messages, as the API shows them.
type Ladder struct {
	Legs     []LadderLeg     `json:"legs"`
	Messages []LadderMessage `json:"messages"`
}

// LadderMessage is one message in a ladder.
type LadderMessage struct {
	Offset    float64  `json:"offset_ms"`
	Leg       string   `json:"leg"`
	Direction string   `json:"direction"`
	Again     bool     `json:"again"`
	Message   string   `json:"message"`
	Method    string   `json:"method"`
	Status    int      `json:"status"`
	Number    string   `json:"number"`
	Digit     bool     `json:"digit"`
	Fields    []string `json:"fields"`
	SDP       string   `json:"sdp"`
}

// LadderLeg is one leg in a ladder.
type LadderLeg struct {
	Leg       string `json:"leg"`
	Trunk     string `json:"trunk"`
	Transport string `json:"transport"`
}

// Leg is one attempt to ring a number, as the API shows it.
type Leg struct {
	To        string `json:"to"`
	Trunk     string `json:"trunk"`
	Rang      bool   `json:"rang"`
	Answered  bool   `json:"answered"`
	SIPStatus int    `json:"sip_status"`
	Cause     string `json:"cause"`
}

// Event is an event as the API shows it.
type Event struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// Log keeps what the server logs, for tests that read it.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write takes a line of the log.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String is the whole log so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// page is one page of a list.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next_cursor"`
}

// all reads every page of a tenant's list.
func all[T any](w *World, tenant, path string) ([]T, error) {
	var items []T
	cursor := ""
	for {
		var p page[T]
		if err := w.Do(tenant, "GET", path+"?limit=100&cursor="+cursor, nil, &p); err != nil {
			return nil, err
		}
		items = append(items, p.Items...)
		if p.Next == "" || len(p.Items) == 0 { // a list of events always tells where to go on
			return items, nil
		}
		cursor = p.Next
	}
}

// Events are all events of a tenant, oldest first.
func (w *World) Events(tenant string) ([]Event, error) {
	return all[Event](w, tenant, "/v1/tenants/"+tenant+"/events")
}

// Calls are all call records of a tenant, newest first.
func (w *World) Calls(tenant string) ([]Call, error) {
	return all[Call](w, tenant, "/v1/tenants/"+tenant+"/calls")
}

// Call is one call record with its legs.
func (w *World) Call(tenant, id string) (Call, error) {
	var c Call
	err := w.Do(tenant, "GET", "/v1/tenants/"+tenant+"/calls/"+id, nil, &c)
	return c, err
}

// CallCounts adds up call_count over all allocations of a tenant.
func (w *World) CallCounts(tenant string) (int, error) {
	list, err := all[struct {
		CallCount int `json:"call_count"`
	}](w, tenant, "/v1/tenants/"+tenant+"/greenvn")
	total := 0
	for _, a := range list {
		total += a.CallCount
	}
	return total, err
}

// Lines are those of the log that hold text.
func (l *Log) Lines(text string) string {
	var found []string
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

// Metrics is the text of /metrics.
func (w *World) Metrics() (string, error) {
	res, err := w.HTTP.Get("http://" + w.App.Addrs().Ops + "/metrics")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// HandTo is what a phone does with incoming calls: it hands each over to whoever
// waits for one, and stays with it until it is over.
func HandTo(ctx context.Context, called chan<- *phone.Call) func(*phone.Call) {
	return func(c *phone.Call) {
		select {
		case called <- c:
		case <-ctx.Done():
		}
		select {
		case <-c.Done():
		case <-ctx.Done(): // a server that was killed ends no call
		}
	}
}

// TLS are the settings of a server that listens on TLS too, and demands certificates:
// its own, its key, and the authority of all are in cert.pem, key.pem and ca.pem of dir.
func TLS(dir string) []string {
	return []string{"TANDEM_SIP_LISTEN=udp://127.0.0.1:0,tcp://127.0.0.1:0,tls://127.0.0.1:0", "TANDEM_SIP_TLS_CLIENT_CERTS=required",
		"TANDEM_SIP_TLS_CERT=" + filepath.Join(dir, "cert.pem"), "TANDEM_SIP_TLS_KEY=" + filepath.Join(dir, "key.pem"),
		"TANDEM_SIP_TLS_CA=" + filepath.Join(dir, "ca.pem")}
}
