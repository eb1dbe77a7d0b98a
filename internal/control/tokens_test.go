package control_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/control"
	"tandem/internal/masking"
	"tandem/internal/store/storetest"
)

func TestATokenIsKnownForIssuedWithoutTheStoreAndForItsAccountOnly(t *testing.T) {
	b := newBench(t)
	var made control.NewToken
	_, err := b.Tokens.Create(t.Context(), "acme", "", control.Once[control.NewToken]{Render: func(v control.NewToken) control.Answer {
		made = v
		return control.Answer{}
	}})
	if err != nil {
		t.Fatal(err)
	}
	sid, secret := b.tenant.AccountSID, made.Secret
	before := b.disturbed.views.Load()
	if !b.Tokens.Issued(sid, secret) {
		t.Error("a token of ours is not known")
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(secret, "tdm_"))
	if err != nil || len(raw) != 48 {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	for i := range raw {
		raw[i] ^= 1
		if b.Tokens.Issued(sid, "tdm_"+base64.RawURLEncoding.EncodeToString(raw)) {
			t.Errorf("with byte %d changed it is still ours", i)
		}
		raw[i] ^= 1
	}
	for _, wrong := range []string{"", "tdm_", secret[4:], secret + "A", secret[:67], secret + "=", "TDM_" + secret[4:], secret[:30] + "\n" + secret[30:]} {
		if b.Tokens.Issued(sid, wrong) {
			t.Errorf("%d characters beside the token are ours", len(wrong))
		}
	}
	if b.Tokens.Issued("ac_another", secret) || b.Tokens.Issued("", secret) {
		t.Error("it is another account's too")
	}
	if n := b.disturbed.views.Load() - before; n != 0 {
		t.Errorf("the store was asked %d times", n)
	}
	// A revoked token was issued all the same: only the store knows better.
	if _, err := b.Tokens.Revoke(t.Context(), "acme", made.ID, once[masking.TokenID]("", 0)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Tokens.Authenticate(t.Context(), sid, secret); masking.KindOf(err) != masking.NotFound || !b.Tokens.Issued(sid, secret) {
		t.Errorf("revoked: %v", err)
	}
}

func TestTheFirstTokenOfATenantIsIssuedToHisAccount(t *testing.T) {
	b := newBench(t)
	var founded control.Founded
	o := once[control.Founded]("", 0)
	o.Render = func(f control.Founded) control.Answer { founded = f; return control.Answer{} }
	if _, err := b.Tenants.Create(t.Context(), control.NewTenant{ID: "zeta"}, o); err != nil {
		t.Fatal(err)
	}
	if !b.Tokens.Issued(founded.AccountSID, founded.Token.Secret) {
		t.Error("it is not known")
	}
	if tenant, token, err := b.Tokens.Authenticate(t.Context(), founded.AccountSID, founded.Token.Secret); err != nil || token != founded.Token.ID || tenant.ID != "zeta" {
		t.Errorf("%q, %v", tenant.ID, err)
	}
}

func TestNoTextIsTakenForIssued(t *testing.T) {
	b := newBench(t)
	rapid.Check(t, func(t *rapid.T) {
		if b.Tokens.Issued(masking.AccountSID(rapid.String().Draw(t, "sid")), rapid.OneOf(rapid.String(), rapid.StringMatching(`tdm_[A-Za-z0-9_-]{64}`)).Draw(t, "token")) {
			t.Error("a made-up token is ours")
		}
	})
}

func TestARefusalIsKeptWithTheTimeAtWhichToTryAgain(t *testing.T) {
	b := newBench(t)
	o := once[control.Snapshot]("k", 1)
	o.Refuse = func(e *masking.Error) control.Answer {
		return control.Answer{Status: 409, Body: []byte("full"), RetryAfter: e.RetryAfter}
	}
	want := control.NewAllocation{Draft: masking.Draft{From: storetest.People(1), To: storetest.People(2), Duration: time.Hour}}
	plain := once[control.Snapshot]("", 0)
	for range 4 {
		if _, err := b.Allocations.Create(t.Context(), b.tenant, want, plain); err != nil {
			t.Fatal(err)
		}
	}
	expiry := b.clock().Add(time.Hour)
	for range 3 {
		a, err := b.Allocations.Create(t.Context(), b.tenant, want, o)
		if err != nil || a.Status != 409 || string(a.Body) != "full" || !a.RetryAfter.Equal(expiry) {
			t.Errorf("%d %q, again at %v, want %v; %v", a.Status, a.Body, a.RetryAfter, expiry, err)
		}
	}
}
