// Package auth tells who sends an HTTP request: a tenant by HTTP Basic (Account
// SID and token) or the operator by a Bearer token. web/api and, later, the
// console use it.
//
// Only failures are limited, by source address. Whoever is right is let in
// whatever others do behind the same address, that of a load balancer or of a
// guesser. That costs no more than the limit would: a token that we never
// issued to the account is known as such without a look into the store, and
// what the store said of one that we did, revoked or not, holds for a second.
// So a revocation is live within two.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"tandem/internal/masking"
)

const (
	maxAge        = time.Second // what the store said of credentials holds this long
	maxHeader     = 1024        // bytes of an Authorization header worth reading
	defaultCached = 10_000
)

// What a failed request has to be told (RFC 9110 §11.6.1).
const (
	BasicChallenge  = `Basic realm="tandem", charset="UTF-8"`
	BearerChallenge = `Bearer realm="tandem admin"`
)

// ErrUnauthorized says that the request proves nobody. It is the same for
// missing, malformed and wrong credentials.
var ErrUnauthorized = errors.New("no valid credentials")

// TooManyAttempts says that the request proves nobody, and that its source has
// failed too often of late.
type TooManyAttempts struct{ RetryAfter time.Duration }

// Error gives the refusal without its source.
func (e *TooManyAttempts) Error() string { return "too many attempts to authenticate" }

// Options are what authentication stands on. All but Cached are required.
type Options struct {
	// Tenant finds the tenant of a pair, and which of his tokens it was; a *masking.Error of kind NotFound says
	// that the pair is wrong.
	Tenant func(ctx context.Context, sid masking.AccountSID, token string) (masking.Tenant, masking.TokenID, error)
	// Issued tells whether the token was ever issued to the account, which says
	// nothing of whether it still counts. It must cost little: everybody may
	// ask it as often as he likes.
	Issued func(sid masking.AccountSID, token string) bool
	// AdminToken is the operator's token; "" lets nobody be the operator.
	AdminToken string
	// Failed counts a failure against its source, a whole IPv4 address or an
	// IPv6 /64, and tells how long to wait if there were too many.
	Failed func(source netip.Prefix, now time.Time) (wait time.Duration, ok bool)
	Clock  func() time.Time
	Cached int // credentials remembered at most; default 10,000
}

// Guard authenticates requests. Any goroutine may use it.
type Guard struct {
	tenant   func(ctx context.Context, sid masking.AccountSID, token string) (masking.Tenant, masking.TokenID, error)
	issued   func(sid masking.AccountSID, token string) bool
	admin    [32]byte
	noAdmin  bool
	failed   func(netip.Prefix, time.Time) (time.Duration, bool)
	clock    func() time.Time
	verdicts *verdicts // only on tokens that were issued
	salt     [32]byte  // of fingerprints; made anew at every start
}

// New makes a Guard.
func New(o Options) (*Guard, error) {
	if o.Tenant == nil || o.Issued == nil || o.Failed == nil || o.Clock == nil {
		return nil, errors.New("auth needs a way to find tenants, to know tokens, a limit of failures and a clock")
	}
	if o.Cached <= 0 {
		o.Cached = defaultCached
	}
	g := &Guard{tenant: o.Tenant, issued: o.Issued, noAdmin: o.AdminToken == "", failed: o.Failed, clock: o.Clock,
		verdicts: newVerdicts(o.Cached)}
	if _, err := rand.Read(g.salt[:]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	g.admin = g.fingerprint("bearer", o.AdminToken)
	return g, nil
}

// Tenant tells which tenant sends the request, and by which of his tokens. The
// error is ErrUnauthorized, *TooManyAttempts, or that of Options.Tenant when it
// could not answer.
func (g *Guard) Tenant(r *http.Request) (masking.Tenant, masking.TokenID, error) {
	user, token, ok := basic(r)
	sid := masking.AccountSID(user)
	if !ok || !g.issued(sid, token) {
		return masking.Tenant{}, "", g.refuse(r)
	}
	is, err := g.judge(r.Context(), sid, token)
	switch {
	case err != nil:
		return masking.Tenant{}, "", err
	case !is.right:
		return masking.Tenant{}, "", g.refuse(r)
	}
	return is.tenant, is.token, nil
}

// judge tells what the store says of a pair, or said a moment ago.
func (g *Guard) judge(ctx context.Context, sid masking.AccountSID, token string) (verdict, error) {
	print := g.fingerprint("basic", string(sid), token)
	now := g.clock() // before the look: what was read is at least this old
	if is, ok := g.verdicts.fresh(print, now); ok {
		return is, nil
	}
	t, id, err := g.tenant(ctx, sid, token)
	if err != nil && masking.KindOf(err) != masking.NotFound {
		return verdict{}, err
	}
	is := verdict{right: err == nil, tenant: t, token: id, at: now}
	g.verdicts.put(print, is)
	return is, nil
}

// Forget makes the next request of a tenant ask the store, on this node: he has
// changed something and is to see it.
func (g *Guard) Forget(t masking.TenantID) { g.verdicts.forget(t) }

// Admin tells whether the operator sends the request. The error is
// ErrUnauthorized or *TooManyAttempts.
func (g *Guard) Admin(r *http.Request) error {
	token, ok := bearer(r)
	// Comparing salted hashes tells nothing of the token by its duration.
	if !ok || g.noAdmin || g.fingerprint("bearer", token) != g.admin {
		return g.refuse(r)
	}
	return nil
}

// refuse answers a request that proves nobody.
func (g *Guard) refuse(r *http.Request) error {
	if wait, ok := g.failed(Source(r), g.clock()); !ok {
		return &TooManyAttempts{wait}
	}
	return ErrUnauthorized
}

// fingerprint names credentials without telling them. The parts are bound by
// their lengths' order: none but the last holds a zero byte, see basic.
func (g *Guard) fingerprint(scheme string, parts ...string) [32]byte {
	b := make([]byte, 0, 256)
	b = append(append(b, g.salt[:]...), scheme...)
	for _, p := range parts {
		b = append(append(b, 0), p...)
	}
	return sha256.Sum256(b)
}

func basic(r *http.Request) (user, password string, ok bool) {
	if len(r.Header.Get("Authorization")) > maxHeader {
		return "", "", false
	}
	user, password, ok = r.BasicAuth()
	return user, password, ok && user != "" && password != "" && strings.IndexByte(user, 0) < 0
}

// bearer reads the token of RFC 6750 §2.1. The scheme's case does not matter
// (RFC 9110 §11.1).
func bearer(r *http.Request) (token string, ok bool) {
	h := r.Header.Get("Authorization")
	scheme, token, ok := strings.Cut(h, " ")
	token = strings.TrimLeft(token, " ")
	return token, ok && len(h) <= maxHeader && strings.EqualFold(scheme, "bearer") && token != ""
}

// Source is where a request comes from, as far as a limit cares: an IPv4
// address, or the /64 that one IPv6 host can roam in. A forwarding header is
// not believed; anybody can write one.
func Source(r *http.Request) netip.Prefix {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{} // all such requests are one source
	}
	addr := ap.Addr().Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits)
	return p
}
