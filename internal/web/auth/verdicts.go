package auth

import (
	"maps"
	"sync"
	"time"

	"tandem/internal/masking"
)

// verdicts remembers which credentials were found right or wrong, and when. It
// is bounded: when it is full, the stalest of a few goes for each that comes.
type verdicts struct {
	size int

	mu      sync.Mutex
	entries map[[32]byte]verdict
}

type verdict struct {
	right  bool
	tenant masking.Tenant // if right
	token  masking.TokenID
	at     time.Time
}

func newVerdicts(size int) *verdicts { return &verdicts{size: size, entries: map[[32]byte]verdict{}} }

// fresh gives the verdict on credentials if there is one that still holds. One
// of the future, after a clock stepped back, does not.
func (v *verdicts) fresh(print [32]byte, now time.Time) (verdict, bool) {
	v.mu.Lock()
	found, ok := v.entries[print]
	v.mu.Unlock()
	age := now.Sub(found.at)
	return found, ok && age >= 0 && age < maxAge
}

func (v *verdicts) put(print [32]byte, is verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, known := v.entries[print]; !known && len(v.entries) >= v.size {
		v.evict()
	}
	v.entries[print] = is
}

// evict makes room for one. Looking at a few is enough, since those in use are
// judged anew each second and so are never the stalest.
func (v *verdicts) evict() {
	const looked = 8
	var stalest [32]byte
	var at time.Time
	n := 0
	for print, is := range v.entries {
		if n == 0 || is.at.Before(at) {
			stalest, at = print, is.at
		}
		if n++; n == looked {
			break
		}
	}
	delete(v.entries, stalest)
}

// forget drops what is known of a tenant.
func (v *verdicts) forget(t masking.TenantID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	maps.DeleteFunc(v.entries, func(_ [32]byte, is verdict) bool { return is.tenant.ID == t })
}
