package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlite"
	"tandem/internal/store/storetest"
	"tandem/internal/testkit/database"
)

const oldSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

// post is a store with tenants, and a deliverer on it.
type post struct {
	testing.TB
	store    *sqlite.Store
	o        DelivererOptions
	deliver  *Deliverer
	outcomes chan masking.Delivery // one for each attempt
	logs     *logs
	events   int

	mu  sync.Mutex
	now time.Time
}

// logs collects what is logged.
type logs struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newPost makes a store with the tenant acme. Nothing is sent before start.
func newPost(t testing.TB, o DelivererOptions) *post {
	t.Helper()
	s := openStore(t)
	p := &post{TB: t, store: s, outcomes: make(chan masking.Delivery, 100_000), logs: &logs{}, now: storetest.Start()}
	o.Store, o.Owner, o.Clock = s, "node-1", p.clock
	o.Log = slog.New(slog.NewTextHandler(p.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Open = func(of masking.WebhookID, sealed []byte) (string, error) {
		text, ok := strings.CutPrefix(string(sealed), "sealed for "+string(of)+" ")
		if !ok {
			return "", errors.New("another's secret")
		}
		return text, nil
	}
	o.Attempted = func(d masking.Delivery) { p.outcomes <- d }
	if o.Poll == 0 {
		o.Poll = time.Millisecond
	}
	p.o = o
	t.Cleanup(func() {
		p.halt()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	p.tenant("acme")
	return p
}

func openStore(t testing.TB) *sqlite.Store {
	t.Helper()
	s := database.Open(t, sqlite.Options{Path: filepath.Join(t.TempDir(), "t.db"), Synchronous: sqlite.Normal})
	return s
}

func (p *post) clock() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *post) forward(by time.Duration) {
	p.mu.Lock()
	p.now = p.now.Add(by)
	p.mu.Unlock()
	p.deliver.Nudge()
}

func (p *post) start() *post {
	p.deliver = StartDeliverer(p.o)
	return p
}

// halt stops the deliverer as a crash would: what is under way is given up.
func (p *post) halt() {
	if p.deliver == nil {
		return
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	p.deliver.Close(done)
	p.deliver = nil
}

func (p *post) update(fn func(context.Context, store.Tx) error) {
	p.Helper()
	if err := p.store.Update(p.Context(), fn); err != nil {
		p.Fatal(err)
	}
}

func (p *post) tenant(id masking.TenantID) {
	p.Helper()
	p.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertTenant(ctx, storetest.Tenant(p, id)) })
}

// endpoint makes one at url.
func (p *post) endpoint(tenant masking.TenantID, id masking.WebhookID, url string) masking.Webhook {
	p.Helper()
	w := storetest.Webhook(tenant, id)
	w.URL, w.Secret = url, []byte("sealed for "+string(id)+" "+secret)
	p.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertWebhook(ctx, w) })
	return w
}

// event is the next one of an allocation.
func (p *post) event(tenant masking.TenantID, allocation masking.AllocationID) masking.Event {
	p.events++
	return masking.Event{ID: masking.EventID(fmt.Sprintf("evt_%d", p.events)), Type: masking.EventCallCompleted, Tenant: tenant,
		Allocation: allocation, Call: "call_1", At: storetest.Start(),
		Data: json.RawMessage(fmt.Sprintf(`{"greenvn":"+914000000001","from":"+919912345601","to":"+918800000002","n":%d}`, p.events))}
}

// tell appends an event of an allocation.
func (p *post) tell(tenant masking.TenantID, allocation masking.AllocationID) masking.EventID {
	p.Helper()
	e := p.event(tenant, allocation)
	p.update(func(ctx context.Context, tx store.Tx) error { return tx.AppendEvent(ctx, e) })
	return e.ID
}

// next is the next attempt that ended.
func (p *post) next() masking.Delivery {
	p.Helper()
	select {
	case d := <-p.outcomes:
		return d
	case <-p.Context().Done():
		return masking.Delivery{}
	case <-time.After(time.Minute): // only if it hangs
		p.Fatalf("nothing is sent\n%s", p.logs)
		return masking.Delivery{}
	}
}

// receiver is a server of a tenant's that behaves as handle says.
func receiver(t testing.TB, handle http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s.URL
}

func last(d masking.Delivery) masking.DeliveryAttempt { return d.Attempts[len(d.Attempts)-1] }

func TestAnEventIsDeliveredSignedUnderItsOwnId(t *testing.T) {
	type received struct {
		header http.Header
		body   []byte
	}
	got := make(chan received, 1)
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- received{r.Header.Clone(), body}
		_, _ = io.WriteString(w, "thanks for +919912345601")
	})
	p := newPost(t, DelivererOptions{AllowPrivate: true})
	p.endpoint("acme", "wh_1", url)
	id := p.tell("acme", "gvn_a")
	p.start()
	r, d := <-got, p.next()
	hook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := hook.VerifyIgnoringTimestamp(r.body, r.header); err != nil {
		t.Errorf("the published verifier says %v", err)
	}
	if want := `{"type":"call.completed","timestamp":"2024-06-15T15:00:00+05:30","data":{"greenvn":"+914000000001","from":"+919912345601","to":"+918800000002","n":1}}`; string(r.body) != want {
		t.Errorf("got  %s\nwant %s", r.body, want)
	}
	if r.header.Get("Webhook-Id") != string(id) || r.header.Get("Webhook-Timestamp") != fmt.Sprint(storetest.Start().Unix()) ||
		r.header.Get("Content-Type") != "application/json" || r.header["Idempotency-Key"] != nil {
		t.Errorf("headers %v", r.header)
	}
	if d.Status != masking.DeliveryDelivered || last(d).Status != 200 || last(d).Response != "thanks for +91…01" {
		t.Errorf("%+v", d)
	}
	kept := p.kept("wh_1")
	if len(kept) != 1 || kept[0].Status != masking.DeliveryDelivered || len(kept[0].Attempts) != 1 {
		t.Errorf("kept: %+v", kept)
	}
	if text := p.logs.String(); strings.Contains(text, "9912345601") || strings.Contains(text, url) || strings.Contains(text, "whsec") {
		t.Errorf("the log tells too much:\n%s", text)
	}
}

// kept are the deliveries of an endpoint, oldest first.
func (p *post) kept(id masking.WebhookID) (list []masking.Delivery) {
	p.Helper()
	err := p.store.View(p.Context(), func(ctx context.Context, tx store.Reader) (err error) {
		list, err = tx.Deliveries(ctx, store.DeliveryFilter{Webhook: id})
		return err
	})
	if err != nil {
		p.Fatal(err)
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

func TestTheSecretBeforeSignsTooUntilItsTimeIsUp(t *testing.T) {
	got := make(chan string, 1)
	url := receiver(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("Webhook-Signature") })
	p := newPost(t, DelivererOptions{AllowPrivate: true})
	w := p.endpoint("acme", "wh_1", url)
	w.OldSecret, w.OldUntil = []byte("sealed for wh_1 "+oldSecret), p.now.Add(masking.SecretOverlaps)
	p.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateWebhook(ctx, w) })
	p.start()
	for _, want := range []int{2, 1} {
		p.tell("acme", "gvn_a")
		if signatures := strings.Fields(<-got); len(signatures) != want {
			t.Errorf("%d signatures, want %d: %v", len(signatures), want, signatures)
		}
		p.next()
		p.forward(masking.SecretOverlaps)
	}
}

func TestAReceiverThatMisbehavesIsAFailedAttemptAndNothingElse(t *testing.T) {
	elsewhere := receiver(t, func(http.ResponseWriter, *http.Request) { t.Error("a redirection was followed") })
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	hang := make(chan struct{})
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		url    string
		want   masking.DeliveryOutcome
		status int
		public bool
	}{
		"500":              {handle: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, want: masking.OutcomeStatus, status: 500},
		"404":              {handle: http.NotFound, want: masking.OutcomeStatus, status: 404},
		"204":              {handle: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, want: masking.OutcomeDelivered, status: 204},
		"redirects":        {handle: http.RedirectHandler(elsewhere, http.StatusTemporaryRedirect).ServeHTTP, want: masking.OutcomeRedirect, status: 307},
		"closes early":     {handle: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, want: masking.OutcomeClosed},
		"is down":          {url: closed.URL, want: masking.OutcomeUnreachable},
		"has no such name": {url: "http://nowhere.invalid/", want: masking.OutcomeUnreachable},
		"is slow": {handle: func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, want: masking.OutcomeTimeout},
		"never ends its answer": {handle: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			<-hang
		}, want: masking.OutcomeDelivered, status: 200},
		"speaks no HTTP": {handle: func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(conn, "220 mail.example ESMTP\r\n")
			_ = conn.Close()
		}, want: masking.OutcomeClosed},
		"is on loopback":             {handle: func(http.ResponseWriter, *http.Request) { t.Error("loopback was reached") }, public: true, want: masking.OutcomeForbidden},
		"has a name of loopback":     {url: "http://localhost:9/", public: true, want: masking.OutcomeForbidden},
		"is the metadata of a cloud": {url: "http://169.254.169.254/latest/meta-data/", public: true, want: masking.OutcomeForbidden},
		"is hidden in IPv6":          {url: "http://[::ffff:169.254.169.254]/", public: true, want: masking.OutcomeForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			o := DelivererOptions{AllowPrivate: !c.public, Waits: []time.Duration{time.Hour}}
			if c.want == masking.OutcomeTimeout {
				o.Timeout = 50 * time.Millisecond
			}
			p := newPost(t, o)
			if c.url == "" {
				c.url = receiver(t, c.handle)
			}
			p.endpoint("acme", "wh_1", c.url)
			p.tell("acme", "gvn_a")
			p.start()
			if c.status == 200 {
				defer close(hang)
			}
			d := p.next()
			if last(d).Outcome != c.want || last(d).Status != c.status {
				t.Errorf("%+v, want %s with %d", last(d), c.want, c.status)
			}
			if want := map[bool]masking.DeliveryStatus{true: masking.DeliveryDelivered, false: masking.DeliveryPending}[c.want == masking.OutcomeDelivered]; d.Status != want {
				t.Errorf("it is %s, want %s", d.Status, want)
			}
		})
	}
}

func TestAnAnswerCountsUntilFifteenSeconds(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  masking.DeliveryOutcome
	}{{14900 * time.Millisecond, masking.OutcomeDelivered}, {16 * time.Second, masking.OutcomeTimeout}} {
		t.Run(c.after.String(), func(t *testing.T) {
			t.Parallel()
			url := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				timer := time.NewTimer(c.after) // in real time, which is what is tested
				defer timer.Stop()
				select {
				case <-timer.C:
				case <-r.Context().Done():
				}
			})
			p := newPost(t, DelivererOptions{AllowPrivate: true})
			p.endpoint("acme", "wh_1", url)
			p.tell("acme", "gvn_a")
			p.start()
			d := p.next()
			if last(d).Outcome != c.want {
				t.Errorf("%+v", last(d))
			}
			t.Logf("answered after %v: %s after %v", c.after, last(d).Outcome, last(d).Took.Round(time.Millisecond))
		})
	}
}

func TestAFailedDeliveryIsTriedAsWrittenAndThenDead(t *testing.T) {
	ids := make(chan string, 100)
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		ids <- r.Header.Get("Webhook-Id")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	p := newPost(t, DelivererOptions{AllowPrivate: true})
	p.endpoint("acme", "wh_1", url)
	id := p.tell("acme", "gvn_a")
	p.start()
	for i, wait := range masking.RetryWaits() {
		d := p.next()
		about := float64(d.Due.Sub(p.clock())) / float64(wait)
		if d.Status != masking.DeliveryPending || d.Tries != i+1 || about < 1-masking.RetryJitter || about > 1+masking.RetryJitter {
			t.Fatalf("attempt %d: %s, due in %v, want about %v", i+1, d.Status, d.Due.Sub(p.clock()), wait)
		}
		p.forward(d.Due.Sub(p.clock()))
	}
	if d := p.next(); d.Status != masking.DeliveryDead || len(d.Attempts) != 9 {
		t.Errorf("%+v", d)
	}
	for range 9 {
		if got := <-ids; got != string(id) {
			t.Errorf("sent as %s, want %s", got, id)
		}
	}
	if !strings.Contains(p.logs.String(), "a dead letter") {
		t.Error("no operator hears of it")
	}
	// What was behind it in its chain goes on.
	p.tell("acme", "gvn_a")
	if d := p.next(); d.Tries != 1 || d.Status != masking.DeliveryPending {
		t.Errorf("%+v", d)
	}
}

func TestAnEndpointThatIsGoneIsSwitchedOff(t *testing.T) {
	url := receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	p := newPost(t, DelivererOptions{AllowPrivate: true, Waits: []time.Duration{time.Millisecond}})
	p.endpoint("acme", "wh_1", url)
	p.tell("acme", "gvn_a")
	p.start()
	if d := p.next(); last(d).Outcome != masking.OutcomeGone {
		t.Fatalf("%+v", d)
	}
	p.tell("acme", "gvn_b")
	p.forward(time.Hour)
	err := p.store.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
		w, err := tx.Webhook(ctx, "acme", "wh_1")
		if w.Active || w.GoneAt.IsZero() {
			t.Errorf("%+v", w)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Its events wait for it: switched on, it gets them.
	well := receiver(t, func(http.ResponseWriter, *http.Request) {})
	w := storetest.Webhook("acme", "wh_1")
	w.URL, w.Secret = well, []byte("sealed for wh_1 "+secret)
	p.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateWebhook(ctx, w) })
	p.deliver.Nudge()
	for range 2 {
		if d := p.next(); d.Status != masking.DeliveryDelivered {
			t.Errorf("%+v", d)
		}
	}
}

func TestAFaultOfOursSendsNothingAndIsTriedAgain(t *testing.T) {
	url := receiver(t, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	p := newPost(t, DelivererOptions{AllowPrivate: true, Waits: []time.Duration{time.Hour}})
	w := p.endpoint("acme", "wh_1", url)
	w.Secret = []byte("of another master key")
	p.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateWebhook(ctx, w) })
	p.tell("acme", "gvn_a")
	p.start()
	if d := p.next(); last(d).Outcome != masking.OutcomeInternal || d.Status != masking.DeliveryPending {
		t.Errorf("%+v", d)
	}
}

// silent is a store that answers nobody while it has a reason.
type silent struct {
	store.Store
	why   atomic.Pointer[error]
	asked atomic.Int64
}

func (s *silent) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	s.asked.Add(1)
	if why := s.why.Load(); why != nil {
		return *why
	}
	return s.Store.View(ctx, fn)
}

// looks waits until the store was asked again some times.
func (s *silent) looks(times int64) {
	for until := s.asked.Load() + times; s.asked.Load() < until; {
		runtime.Gosched()
	}
}

func TestAStoreThatFailsForLongIsToldOnceAndOneThatIsKnownToBeAwayNotAtAll(t *testing.T) {
	p := newPost(t, DelivererOptions{})
	s := &silent{Store: p.store}
	p.o.Store = s
	for why, lines := range map[error]int{io.ErrUnexpectedEOF: 2, store.ErrAway: 0} {
		before := strings.Count(p.logs.String(), "webhooks wait for the store")
		s.why.Store(&why)
		p.start()
		s.looks(20)
		s.why.Store(nil)
		s.looks(20)
		p.halt()
		if n := strings.Count(p.logs.String(), "webhooks wait for the store") - before; n != lines {
			t.Errorf("%v: %d lines: %s", why, n, p.logs)
		}
	}
}
