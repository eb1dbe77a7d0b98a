// Package auth tells who sends an HTTP request: a tenant by HTTP Basic (Account
// SID and token) or the operator by a Bearer token. web/api and, later, the
// console use it.
//
// Credentials that were found right are remembered in hashed form: for one
// second they are believed without asking again, so that a revocation is live
// within two, and for some minutes they are proven: they are asked for again
// each second, but never limited. Attempts with anything else are limited by
// source address before the store is asked, so that guessing costs little and
// a guesser behind the same address locks nobody out.
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
	maxAge        = time.Second      // a verified credential is believed this long
	provenFor     = 10 * time.Minute // and is not limited this long
	maxHeader     = 1024             // bytes of an Authorization header worth reading
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

// TooManyAttempts says that the source must wait before it tries again.
type TooManyAttempts struct{ RetryAfter time.Duration }

// Error gives the refusal without its source.
func (e *TooManyAttempts) Error() string { return "too many attempts to authenticate" }

// Options are what authentication stands on. All but Cached are required.
type Options struct {
	// Tenant finds the tenant of a pair; a *masking.Error of kind NotFound says
	// that the pair is wrong.
	Tenant func(ctx context.Context, sid masking.AccountSID, token string) (masking.Tenant, error)
	// AdminToken is the operator's token; "" lets nobody be the operator.
	AdminToken string
	// Attempt counts an attempt with unproven credentials against its source, a
	// whole IPv4 address or an IPv6 /64, and tells how long to wait if it may
	// not be made.
	Attempt func(source netip.Prefix, now time.Time) (wait time.Duration, ok bool)
	Clock   func() time.Time
	Cached  int // credentials remembered at most; default 10,000
}

// Guard authenticates requests. Any goroutine may use it.
type Guard struct {
	tenant  func(ctx context.Context, sid masking.AccountSID, token string) (masking.Tenant, error)
	admin   [32]byte
	noAdmin bool
	attempt func(netip.Prefix, time.Time) (time.Duration, bool)
	clock   func() time.Time
	proven  *proven
	salt    [32]byte // of fingerprints; made anew at every start
}

// New makes a Guard.
func New(o Options) (*Guard, error) {
	if o.Tenant == nil || o.Attempt == nil || o.Clock == nil {
		return nil, errors.New("auth needs a way to find tenants, a limit of attempts and a clock")
	}
	if o.Cached <= 0 {
		o.Cached = defaultCached
	}
	g := &Guard{tenant: o.Tenant, noAdmin: o.AdminToken == "", attempt: o.Attempt, clock: o.Clock,
		proven: newProven(o.Cached)}
	if _, err := rand.Read(g.salt[:]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	g.admin = g.fingerprint("bearer", o.AdminToken)
	return g, nil
}

// Tenant tells which tenant sends the request. The error is ErrUnauthorized,
// *TooManyAttempts, or that of Options.Tenant when it could not answer.
func (g *Guard) Tenant(r *http.Request) (masking.Tenant, error) {
	sid, token, ok := basic(r)
	if !ok {
		return masking.Tenant{}, g.refuse(r)
	}
	return g.check(r, g.fingerprint("basic", sid, token), func() (masking.Tenant, error) {
		return g.tenant(r.Context(), masking.AccountSID(sid), token)
	})
}

// Admin tells whether the operator sends the request. The error is
// ErrUnauthorized or *TooManyAttempts.
func (g *Guard) Admin(r *http.Request) error {
	token, ok := bearer(r)
	if !ok {
		return g.refuse(r)
	}
	// Comparing salted hashes tells nothing of the token by its duration.
	print := g.fingerprint("bearer", token)
	_, err := g.check(r, print, func() (masking.Tenant, error) {
		if g.noAdmin || print != g.admin {
			return masking.Tenant{}, masking.ErrNotFound()
		}
		return masking.Tenant{}, nil
	})
	return err
}

// refuse answers a request without usable credentials. It is an attempt too:
// it costs a response.
func (g *Guard) refuse(r *http.Request) error {
	if wait, ok := g.attempt(Source(r), g.clock()); !ok {
		return &TooManyAttempts{wait}
	}
	return ErrUnauthorized
}

// check believes credentials that were verified a moment ago and verifies
// others, unproven ones within the limit.
func (g *Guard) check(r *http.Request, print [32]byte, verify func() (masking.Tenant, error)) (masking.Tenant, error) {
	now := g.clock() // before the look: what was read is at least this old
	known, age, found := g.proven.get(print, now)
	switch {
	case found && age >= 0 && age < maxAge:
		return known, nil
	case !found || age < 0 || age > provenFor:
		if wait, ok := g.attempt(Source(r), now); !ok {
			return masking.Tenant{}, &TooManyAttempts{wait}
		}
	}
	t, err := verify()
	switch {
	case err == nil:
		g.proven.put(print, t, now)
		return t, nil
	case masking.KindOf(err) == masking.NotFound:
		g.proven.drop(print)
		return masking.Tenant{}, ErrUnauthorized
	}
	return masking.Tenant{}, err
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
