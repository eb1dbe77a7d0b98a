package auth

import (
	"sync"
	"time"

	"tandem/internal/masking"
)

// proven remembers which credentials were found right, and when. It is bounded:
// when it is full, the stalest of a few goes for each that comes.
type proven struct {
	size int

	mu      sync.Mutex
	entries map[[32]byte]verdict
}

type verdict struct {
	tenant masking.Tenant
	at     time.Time
}

func newProven(size int) *proven { return &proven{size: size, entries: map[[32]byte]verdict{}} }

func (p *proven) get(print [32]byte, now time.Time) (t masking.Tenant, age time.Duration, found bool) {
	p.mu.Lock()
	v, found := p.entries[print]
	p.mu.Unlock()
	return v.tenant, now.Sub(v.at), found
}

func (p *proven) put(print [32]byte, t masking.Tenant, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.entries[print]; !known && len(p.entries) >= p.size {
		p.evict()
	}
	p.entries[print] = verdict{t, at}
}

func (p *proven) drop(print [32]byte) {
	p.mu.Lock()
	delete(p.entries, print)
	p.mu.Unlock()
}

// evict makes room for one. Looking at a few is enough, since those in use are
// verified anew each second and so are never the stalest.
func (p *proven) evict() {
	const looked = 8
	var stalest [32]byte
	var at time.Time
	n := 0
	for print, v := range p.entries {
		if n == 0 || v.at.Before(at) {
			stalest, at = print, v.at
		}
		if n++; n == looked {
			break
		}
	}
	delete(p.entries, stalest)
}
