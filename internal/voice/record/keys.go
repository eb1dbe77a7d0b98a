package record

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"filippo.io/age"

	"tandem/internal/masking"
)

const (
	keyLife    = 10 * time.Minute // until a key is asked for again
	keyTimeout = 5 * time.Second
	keyRetry   = time.Second
)

// keyring holds the recipients of tenants, so that a recording that begins
// waits for no database. Asking is a goroutine of its own: fetch.
type keyring struct {
	keys Keys
	log  *slog.Logger
	now  func() time.Duration
	wake chan struct{}
	end  chan struct{}

	mu     sync.Mutex
	known  map[masking.TenantID]knownKey
	wanted map[masking.TenantID]struct{}
}

type knownKey struct {
	recipient age.Recipient
	until     time.Duration
}

func newKeyring(o Options) *keyring {
	return &keyring{keys: o.Keys, log: o.Log, now: o.Now, wake: make(chan struct{}, 1), end: make(chan struct{}),
		known: map[masking.TenantID]knownKey{}, wanted: map[masking.TenantID]struct{}{}}
}

// recipient gives a tenant's, or nil and sees to it that it will be known.
func (k *keyring) recipient(tenant masking.TenantID, now time.Duration) age.Recipient {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.known[tenant]; ok && now < key.until {
		return key.recipient
	}
	k.wanted[tenant] = struct{}{}
	select {
	case k.wake <- struct{}{}:
	default:
	}
	return nil
}

// close ends fetch.
func (k *keyring) close() { close(k.end) }

// fetch asks for the keys that are wanted until close.
func (k *keyring) fetch(ctx context.Context) {
	failing := false
	for {
		select {
		case <-k.wake:
		case <-k.end:
			return
		case <-ctx.Done():
			return
		}
		err := k.ask(ctx)
		if err != nil && !failing {
			k.log.Warn("recordings wait for a key", "error", err)
		}
		if failing = err != nil; !failing {
			continue
		}
		select {
		case <-time.After(keyRetry):
		case <-k.end:
			return
		case <-ctx.Done():
			return
		}
	}
}

// ask tries every key that is wanted once. Who still wants one says so again.
func (k *keyring) ask(ctx context.Context) (failed error) {
	k.mu.Lock()
	wanted := slices.Collect(maps.Keys(k.wanted))
	clear(k.wanted)
	k.mu.Unlock()
	for _, tenant := range wanted {
		within, cancel := context.WithTimeout(ctx, keyTimeout)
		recipient, err := k.keys.Recipient(within, tenant)
		cancel()
		if err != nil {
			failed = err
			continue
		}
		now := k.now()
		k.mu.Lock()
		maps.DeleteFunc(k.known, func(_ masking.TenantID, old knownKey) bool { return now >= old.until })
		k.known[tenant] = knownKey{recipient, now + keyLife}
		k.mu.Unlock()
	}
	return failed
}
