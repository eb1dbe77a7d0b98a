package control

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

const (
	tokenPrefix = "tdm_" // so that a token found in a log or a repository is known for what it is
	tokenBytes  = 32     // random ones
	tagBytes    = 16
	minTokenKey = 32
)

// Tokens are the use cases of a tenant's credentials. He may have several live
// ones, so that a rotation needs no outage.
type Tokens struct {
	*core
	key []byte
}

// NewToken is a token that was just made. Secret exists nowhere else.
type NewToken struct {
	masking.Token
	Secret string
}

// mint makes a token for a tenant: 256 random bits, and a tag by which we know
// our own (see Issued). Only the keyed hash of it is stored.
func (c *core) mint(key []byte, t masking.Tenant, label string, now time.Time) (NewToken, error) {
	random := make([]byte, tokenBytes, tokenBytes+tagBytes)
	if _, err := io.ReadFull(c.random, random); err != nil {
		return NewToken{}, fmt.Errorf("read randomness: %w", err)
	}
	id, err := c.newID(masking.PrefixToken, now)
	if err != nil {
		return NewToken{}, err
	}
	secret := tokenPrefix + base64.RawURLEncoding.EncodeToString(append(random, tokenTag(key, t.AccountSID, random)...))
	return NewToken{Secret: secret, Token: masking.Token{ID: masking.TokenID(id), Tenant: t.ID, Label: label,
		Hash: tokenHash(key, secret), CreatedAt: now}}, nil
}

// tokenTag binds a token's random bytes to the account it was made for.
func tokenTag(key []byte, sid masking.AccountSID, random []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("tandem: token tag\x00"))
	m.Write(random) // of one length, so that nothing can move over to the SID
	m.Write([]byte(sid))
	return m.Sum(nil)[:tagBytes]
}

// Issued reports whether secret is a token that was made for the account at
// some time; it may have been revoked since. It looks at the token alone, so
// that one who makes up tokens costs a hash and nobody a look into the store.
func (s *Tokens) Issued(sid masking.AccountSID, secret string) bool {
	text, ok := strings.CutPrefix(secret, tokenPrefix)
	if !ok || len(text) != base64.RawURLEncoding.EncodedLen(tokenBytes+tagBytes) {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && len(raw) == tokenBytes+tagBytes &&
		hmac.Equal(raw[tokenBytes:], tokenTag(s.key, sid, raw[:tokenBytes]))
}

func tokenHash(key []byte, secret string) (hash [32]byte) {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(secret))
	m.Sum(hash[:0])
	return hash
}

// Create makes a token for a tenant.
func (s *Tokens) Create(ctx context.Context, t masking.TenantID, label string, once Once[NewToken]) (Answer, error) {
	return change(ctx, s.core, operators, "make a token", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (NewToken, error) {
			tenant, err := tx.Tenant(ctx, t)
			if err != nil {
				return NewToken{}, err
			}
			token, err := s.mint(s.key, tenant, label, now)
			if err != nil {
				return NewToken{}, err
			}
			return token, tx.InsertToken(ctx, token.Token)
		})
}

// List reads a tenant's tokens.
func (s *Tokens) List(ctx context.Context, t masking.TenantID) (tokens []masking.Token, err error) {
	err = s.view(ctx, "list tokens", func(ctx context.Context, tx store.Reader) error {
		if _, err := tx.Tenant(ctx, t); err != nil {
			return err
		}
		tokens, err = tx.Tokens(ctx, t)
		return err
	})
	return tokens, err
}

// Get reads one of a tenant's tokens.
func (s *Tokens) Get(ctx context.Context, t masking.TenantID, id masking.TokenID) (masking.Token, error) {
	tokens, err := s.List(ctx, t)
	if err != nil {
		return masking.Token{}, err
	}
	for _, token := range tokens {
		if token.ID == id {
			return token, nil
		}
	}
	return masking.Token{}, masking.ErrNotFound()
}

// Revoke ends a token. Requests that carry it are refused within two seconds
// on every node.
func (s *Tokens) Revoke(ctx context.Context, t masking.TenantID, id masking.TokenID, once Once[masking.TokenID]) (Answer, error) {
	return change(ctx, s.core, operators, "revoke a token", once,
		func(ctx context.Context, tx store.Tx, _ time.Time) (masking.TokenID, error) {
			return id, tx.DeleteToken(ctx, t, id)
		})
}

// Authenticate finds the tenant of an Account SID and a token, and the token's id. NotFound says
// that the pair is wrong, and not which half: an unknown SID costs the same
// look into the store, hash and comparison as a known one.
func (s *Tokens) Authenticate(ctx context.Context, sid masking.AccountSID, secret string) (masking.Tenant, masking.TokenID, error) {
	hash := tokenHash(s.key, secret)
	var tenant masking.Tenant
	var tokens []masking.Token
	err := s.view(ctx, "authenticate", func(ctx context.Context, tx store.Reader) (err error) {
		tenant, tokens, err = tx.TenantBySID(ctx, sid)
		return err
	})
	unknown := masking.KindOf(err) == masking.NotFound
	if err != nil && !unknown {
		return masking.Tenant{}, "", err
	}
	if len(tokens) == 0 {
		tokens = []masking.Token{{}} // compared all the same
	}
	match := 0
	var which masking.TokenID
	for i := range tokens {
		if subtle.ConstantTimeCompare(hash[:], tokens[i].Hash[:]) == 1 {
			match, which = 1, tokens[i].ID
		}
	}
	if unknown || match != 1 {
		return masking.Tenant{}, "", masking.ErrNotFound()
	}
	return tenant, which, nil
}
