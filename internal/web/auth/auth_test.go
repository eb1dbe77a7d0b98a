package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/masking"
)

// door is a Guard with tenants, a clock and a limit of the test's own.
type door struct {
	*Guard
	mu       sync.Mutex
	now      time.Time
	tokens   map[string]string // sid: token
	forged   string            // what tokens begin with that nobody issued
	asked    int
	attempts map[netip.Prefix]int
	most     int
	broken   error
}

func newDoor(t testing.TB, cached int) *door {
	t.Helper()
	d := &door{now: time.Unix(1_700_000_000, 0), tokens: map[string]string{"ac_1": "tdm_1"}, forged: "guess", attempts: map[netip.Prefix]int{}, most: 3}
	var err error
	d.Guard, err = New(Options{Cached: cached, AdminToken: "tda_1", Clock: func() time.Time { d.mu.Lock(); defer d.mu.Unlock(); return d.now },
		Tenant: func(_ context.Context, sid masking.AccountSID, token string) (masking.Tenant, masking.TokenID, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.asked++
			if d.broken != nil {
				return masking.Tenant{}, "", d.broken
			}
			if d.tokens[string(sid)] != token || token == "" {
				return masking.Tenant{}, "", masking.ErrNotFound()
			}
			return masking.Tenant{ID: masking.TenantID(sid)}, masking.TokenID("tok_" + token), nil
		},
		Issued: func(_ masking.AccountSID, token string) bool { return !strings.HasPrefix(token, d.forged) },
		Failed: func(source netip.Prefix, _ time.Time) (time.Duration, bool) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.attempts[source]++
			return 7 * time.Second, d.attempts[source] <= d.most
		}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *door) pass(by time.Duration) { d.mu.Lock(); d.now = d.now.Add(by); d.mu.Unlock() }

func basicFrom(addr, sid, token string) *http.Request {
	r, _ := http.NewRequest("GET", "/", nil)
	r.RemoteAddr = addr
	r.SetBasicAuth(sid, token)
	return r
}

func bearerFrom(addr, header string) *http.Request {
	r, _ := http.NewRequest("GET", "/", nil)
	r.RemoteAddr = addr
	r.Header.Set("Authorization", header)
	return r
}

const here = "192.0.2.1:1000"

func TestVerifiedCredentialsAreBelievedForASecondAndNoLonger(t *testing.T) {
	d := newDoor(t, 0)
	ask := func(wantAsked int, wantErr error) {
		t.Helper()
		tenant, _, err := d.Tenant(basicFrom(here, "ac_1", "tdm_1"))
		if !errors.Is(err, wantErr) || (err == nil && tenant.ID != "ac_1") || d.asked != wantAsked {
			t.Errorf("tenant %q, %v, asked %d times; want %v, %d", tenant.ID, err, d.asked, wantErr, wantAsked)
		}
	}
	ask(1, nil)
	d.pass(999 * time.Millisecond)
	ask(1, nil)
	d.tokens["ac_1"] = "tdm_2" // revoked
	ask(1, nil)
	d.pass(time.Millisecond)
	ask(2, ErrUnauthorized)
	ask(2, ErrUnauthorized) // found wrong a moment ago: not asked again
	d.pass(time.Second)
	ask(3, ErrUnauthorized)
	if n := d.attempts[netip.MustParsePrefix("192.0.2.1/32")]; n != 3 {
		t.Errorf("%d failures counted, want 3: what succeeds is none", n)
	}
}

// Behind one address, of a load balancer say, others fail without end.
func TestWhoIsRightIsLetInWhateverFailsBesideHim(t *testing.T) {
	d := newDoor(t, 0)
	d.tokens["ac_2"] = "tdm_2"
	d.tokens["ac_old"] = "revoked"
	var many *TooManyAttempts
	fail := func() {
		t.Helper()
		for i := range 20 {
			_, _, e1 := d.Tenant(basicFrom(here, "ac_1", fmt.Sprint("guess", i)))
			_, _, e2 := d.Tenant(basicFrom(here, "ac_old", "tdm_revoked"))
			e3 := d.Admin(bearerFrom(here, fmt.Sprint("Bearer guess", i)))
			_, _, e4 := d.Tenant(bearerFrom(here, "nonsense"))
			for j, err := range []error{e1, e2, e3, e4} {
				if limited := errors.As(err, &many); limited != (4*i+j >= d.most) || (!limited && !errors.Is(err, ErrUnauthorized)) {
					t.Fatalf("failure %d.%d: %v", i, j, err)
				}
			}
		}
	}
	fail()
	if many.RetryAfter != 7*time.Second {
		t.Errorf("refusal %v", many)
	}
	for _, pair := range [][2]string{{"ac_1", "tdm_1"}, {"ac_2", "tdm_2"}} { // never seen before
		for range 3 {
			if _, _, err := d.Tenant(basicFrom(here, pair[0], pair[1])); err != nil {
				t.Errorf("%s: %v", pair[0], err)
			}
			d.pass(time.Hour)
		}
	}
	if err := d.Admin(bearerFrom(here, "BEARER   tda_1")); err != nil {
		t.Errorf("the operator: %v", err)
	}
}

func TestAFailureCostsNoLookIntoTheStoreOrOneASecond(t *testing.T) {
	d := newDoor(t, 0)
	for i := range 20 {
		_, _, _ = d.Tenant(basicFrom(here, "ac_1", fmt.Sprint("guess", i)))
		_, _, _ = d.Tenant(basicFrom(here, fmt.Sprint("ac_", i), "guess"))
		_ = d.Admin(bearerFrom(here, fmt.Sprint("Bearer guess", i)))
		_, _, _ = d.Tenant(bearerFrom(here, "nonsense"))
	}
	if d.asked != 0 || len(d.verdicts.entries) != 0 {
		t.Errorf("for what nobody issued the store was asked %d times and %d places taken", d.asked, len(d.verdicts.entries))
	}
	for range 20 {
		_, _, _ = d.Tenant(basicFrom(here, "ac_1", "tdm_revoked"))
		d.pass(100 * time.Millisecond)
	}
	if d.asked != 2 {
		t.Errorf("for revoked credentials the store was asked %d times in two seconds", d.asked)
	}
}

func TestAStoreThatCannotAnswerIsNoWrongPassword(t *testing.T) {
	d := newDoor(t, 0)
	if _, _, err := d.Tenant(basicFrom(here, "ac_1", "tdm_1")); err != nil {
		t.Fatal(err)
	}
	d.broken = masking.ErrUnavailable()
	d.pass(time.Second)
	if _, _, err := d.Tenant(basicFrom(here, "ac_1", "tdm_1")); masking.KindOf(err) != masking.Unavailable {
		t.Errorf("%v", err)
	}
	d.broken = nil
	if _, _, err := d.Tenant(basicFrom(here, "ac_1", "tdm_1")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestTheMemoryOfCredentialsIsBoundedAndKeepsThoseInUse(t *testing.T) {
	d := newDoor(t, 10)
	d.most = 1 << 30
	for i := range 1000 {
		sid := fmt.Sprint("ac_", i)
		d.tokens[sid] = "t"
		if _, _, err := d.Tenant(basicFrom(here, sid, "t")); err != nil {
			t.Fatal(err)
		}
		d.pass(time.Millisecond)
	}
	if n := len(d.verdicts.entries); n != 10 {
		t.Errorf("%d credentials are remembered, want 10", n)
	}
	_, _, err := d.Tenant(basicFrom(here, "ac_999", "t"))
	if err != nil || d.asked != 1000 {
		t.Errorf("the newest was forgotten: asked %d, %v", d.asked, err)
	}
}

func TestAClockThatStepsBackBelievesNothing(t *testing.T) {
	d := newDoor(t, 0)
	for range 2 {
		if _, _, err := d.Tenant(basicFrom(here, "ac_1", "tdm_1")); err != nil {
			t.Fatal(err)
		}
		d.pass(-time.Hour)
	}
	if d.asked != 2 {
		t.Errorf("asked %d times, want each time", d.asked)
	}
}

func TestASourceIsAnAddressOrASlash64(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:99": "192.0.2.1/32", "[::ffff:192.0.2.1]:99": "192.0.2.1/32", "[2001:db8::1]:1": "2001:db8::/64",
		"[2001:db8:0:0:ffff::2]:1": "2001:db8::/64", "[2001:db8:0:1::1]:1": "2001:db8:0:1::/64", "[fe80::1%eth0]:1": "fe80::/64", "@": "invalid Prefix", "": "invalid Prefix",
	} {
		if got := Source(&http.Request{RemoteAddr: addr}).String(); got != want {
			t.Errorf("%q is %s, want %s", addr, got, want)
		}
	}
}

func TestCredentialsAreNotMistakenForEachOther(t *testing.T) {
	d := newDoor(t, 0)
	seen := map[[32]byte]string{}
	for _, parts := range [][]string{{"basic", "a", "bc"}, {"basic", "ab", "c"}, {"basic", "abc", ""}, {"basic", "", "abc"}, {"bearer", "abc"}, {"bearer", "a"}} {
		p := d.fingerprint(parts[0], parts[1:]...)
		if other, twice := seen[p]; twice {
			t.Errorf("%q and %q are the same", parts, other)
		}
		seen[p] = fmt.Sprint(parts)
	}
	if _, _, err := d.Tenant(basicFrom(here, "ac_1\x00tdm_1", "")); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("a zero byte in the user name: %v", err)
	}
}

// FuzzAuthorization: no header makes anybody somebody else, and none panics.
func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{"", "Basic", "Basic YWNfMTp0ZG1fMQ==", "basic YWNfMTp0ZG1fMQ", "Basic \x00", "Bearer tda_1", "Bearer  tda_1 ", "Bearer\ttda_1", "Digest x", "Basic OjEx", strings.Repeat("Basic YQ==", 200)} {
		f.Add(seed)
	}
	d := newDoor(f, 100)
	d.most = 1 << 60
	f.Fuzz(func(t *testing.T, header string) {
		r := bearerFrom(here, header)
		if tenant, _, err := d.Tenant(r); err == nil {
			if sid, token, ok := r.BasicAuth(); !ok || sid != "ac_1" || token != "tdm_1" || tenant.ID != "ac_1" {
				t.Errorf("%q is %q", header, tenant.ID)
			}
		}
		if err := d.Admin(r); err == nil && !strings.HasSuffix(header, " tda_1") {
			t.Errorf("%q is the operator", header)
		}
	})
}

func TestAForgottenTenantIsLookedUpAnew(t *testing.T) {
	d := newDoor(t, 0)
	d.tokens["ac_2"] = "tdm_2"
	ask := func(sid, token string, want int) {
		t.Helper()
		if _, _, err := d.Tenant(basicFrom(here, sid, token)); err != nil || d.asked != want {
			t.Errorf("%s: %v, the store was asked %d times, want %d", sid, err, d.asked, want)
		}
	}
	ask("ac_1", "tdm_1", 1)
	ask("ac_2", "tdm_2", 2)
	d.Forget("ac_1")
	ask("ac_2", "tdm_2", 2)
	ask("ac_1", "tdm_1", 3)
	ask("ac_1", "tdm_1", 3)
}
