// Package control holds the use cases of an API caller: what an application
// does with its allocations, and what an operator does with tenants, tokens,
// numbers and trunks. It knows no HTTP; web/api and tests call it.
//
// Each use case is one transaction on the store. The rules are masking's, the
// invariants the database's; what is here is the order of things: read, decide,
// write, note the event, and keep the answer for a repeated request (see [Once]).
//
// An error is a *masking.Error. Whatever else the store says is logged here and
// becomes masking.ErrUnavailable, so that no internal cause travels further.
package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"tandem/internal/masking"
	"tandem/internal/seal"
	"tandem/internal/store"
)

// Calls is what control tells the voice plane. It is called after the commit.
type Calls interface {
	// AllocationEnded says that the allocation routes no more: calls that ring
	// through it are to be cancelled, and connected ones ended if terminate.
	// It must not block.
	AllocationEnded(id masking.AllocationID, terminate bool)
}

// Ladders are those of calls that are up or not yet written.
type Ladders interface {
	// Ladder gives what was seen of a call so far (package ladder), whole if no more
	// comes; nil: nothing is known of it.
	Ladder(masking.CallID) (seen []byte, whole bool)
}

// Announcements are what the voice plane says, for tenants who say it themselves.
type Announcements interface {
	// Check tells why a file cannot be played, in words for its owner.
	Check(file []byte) error
	Names() []string
	Languages() []string
	// Builtin gives the WAV file that is played where a tenant has none of his own.
	Builtin(language, name string) ([]byte, bool)
}

// Sounds are where the sound of recordings is kept.
type Sounds interface {
	// Open gives the WAV file of a recording that is stored. NotFound: it is gone.
	// ctx rules the reading too.
	Open(ctx context.Context, r masking.Recording) (io.ReadSeekCloser, error)
	// Delete removes what is kept under a recording's key; nil where there is nothing.
	Delete(ctx context.Context, key string) error
}

// Secrets encrypts what must be readable again, though by nobody who has the
// database alone.
type Secrets interface {
	// Seal encrypts a secret of the thing that is named so.
	Seal(of, secret string) []byte
}

// Options are what the use cases stand on. Store, Clock, Random, Log,
// TokenKey, TrunkSecrets and WebhookSecrets are required.
type Options struct {
	Store  store.Store
	Clock  func() time.Time // cut to milliseconds, as the store keeps time
	Random io.Reader        // cryptographic, safe for concurrent use: crypto/rand.Reader
	Calls  Calls            // nil: nobody is told
	Log    *slog.Logger
	// TokenKey keys the hashes of tokens and seals kept answers: at least 32
	// bytes, the same on every node and for as long as the tokens shall live.
	TokenKey []byte
	// Languages are those that a tenant may set; nil: any.
	Languages []string
	// StrangerSecret gives what a tenant checks our questions about strangers
	// with (AskWebhook); nil: there is nothing to be shown.
	StrangerSecret func(masking.TenantID) string
	Announcements  Announcements // nil: there are none to replace
	Sounds         Sounds        // nil: no recording can be listened to or removed
	Ladders        Ladders       // nil: those that are written only
	TrunkSecrets   Secrets       // passwords of trunks
	Routing        Routing       // nil: nothing can be explained
	WebhookSecrets Secrets       // what signs for endpoints
	Sender         Sender        // nil: nothing is sent to endpoints
	// Wake says that there may be new events, before the next look at the store; nil:
	// nobody says so.
	Wake <-chan struct{}
}

// Plane is the control plane, by subject. Its parts may be used by any goroutine.
type Plane struct {
	Allocations *Allocations
	Pins        *Pins
	Tenants     *Tenants
	Settings    *Settings
	Tokens      *Tokens
	Numbers     *Numbers
	Trunks      *Trunks
	Records     *Records
	Recordings  *Recordings
	Prompts     *Prompts
	Routes      *Routes
	Audit       *Audit
	Blocked     *Blocked
	Webhooks    *Webhooks
	Erasures    *Erasures
	Retention   *Retention
	Nodes       *Nodes
}

// New makes the use cases. It refuses options that would fail later.
func New(o Options) (*Plane, error) {
	switch {
	case o.Store == nil || o.Clock == nil || o.Random == nil || o.Log == nil:
		return nil, errors.New("control needs a store, a clock, randomness and a log")
	case o.TrunkSecrets == nil || o.WebhookSecrets == nil:
		return nil, errors.New("control needs something that seals the passwords of trunks and the secrets of endpoints")
	case len(o.TokenKey) < minTokenKey:
		return nil, fmt.Errorf("the token key has %d bytes; at least %d are needed", len(o.TokenKey), minTokenKey)
	}
	box, err := newBox(o.TokenKey)
	if err != nil {
		return nil, err
	}
	c := &core{store: o.Store, clock: o.Clock, random: o.Random, calls: o.Calls, log: o.Log, box: box, languages: o.Languages}
	return &Plane{
		Allocations: &Allocations{c},
		Pins:        &Pins{c},
		Tenants:     &Tenants{c, o.TokenKey},
		Settings:    &Settings{c, o.StrangerSecret},
		Tokens:      &Tokens{c, o.TokenKey},
		Numbers:     &Numbers{c},
		Trunks:      &Trunks{c, o.TrunkSecrets},
		Records:     &Records{c, o.Ladders, newWatch(o.Store, o.Log, o.Wake)},
		Recordings:  &Recordings{c, o.Sounds},
		Prompts:     &Prompts{c, o.Announcements},
		Routes:      &Routes{c, o.Routing},
		Audit:       &Audit{c},
		Blocked:     &Blocked{c},
		Webhooks:    &Webhooks{c, o.WebhookSecrets, o.Sender},
		Erasures:    &Erasures{c, o.TokenKey, &Recordings{c, o.Sounds}},
		Retention:   &Retention{c},
		Nodes:       &Nodes{c},
	}, nil
}

// core is what all use cases share.
type core struct {
	store  store.Store
	clock  func() time.Time
	random io.Reader
	calls  Calls
	log    *slog.Logger
	box    *seal.Box // of kept answers

	languages []string // that a tenant may set; nil: any
}

// now is the time of a change. The store keeps milliseconds: cutting here makes
// what is answered now and what is read later the same.
func (c *core) now() time.Time { return c.clock().UTC().Truncate(time.Millisecond) }

// newID makes an identifier of the kind that prefix tells.
func (c *core) newID(prefix string, now time.Time) (string, error) {
	var random [10]byte
	if _, err := io.ReadFull(c.random, random[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return masking.NewID(prefix, now, random), nil
}

// view runs fn on a snapshot.
func (c *core) view(ctx context.Context, doing string, fn func(context.Context, store.Reader) error) error {
	return c.fail(ctx, doing, c.store.View(ctx, fn))
}

// fail lets refusals by a rule through and turns everything else into
// ErrUnavailable; its cause is told to the log alone. A caller who has gone
// away is no failure of the store, and of a database that is known to be away
// (store.ErrAway, which stays to be seen) the log has been told.
func (c *core) fail(ctx context.Context, doing string, err error) error {
	var refused *masking.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, store.ErrAway):
		return fmt.Errorf("%w: %w", masking.ErrUnavailable(), store.ErrAway)
	case ctx.Err() == nil:
		c.log.ErrorContext(ctx, "store failed", "doing", doing, "error", err)
	}
	return masking.ErrUnavailable()
}

// ended tells the voice plane.
func (c *core) ended(id masking.AllocationID, terminate bool) {
	if c.calls != nil {
		c.calls.AllocationEnded(id, terminate)
	}
}
