package sipua

import (
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"tandem/internal/masking"
)

// keepers look after the trunks: one for each, replaced when its settings change.
// They run from Keep to Drain or Close.
type keepers struct {
	mu      sync.Mutex
	running bool
	of      map[string]*keeper
	leaving []*registration // those that are being taken back, and some that have been
	wg      sync.WaitGroup
}

// keeper looks after one trunk.
type keeper struct {
	trunk        masking.Trunk
	registration *registration // nil if the trunk wants none
	stop         context.CancelFunc
}

// Keep begins to register with the trunks, and to ask them whether they are there.
// It needs sockets: call it after Listen.
func (ua *Agent) Keep() {
	ua.keepers.mu.Lock()
	defer ua.keepers.mu.Unlock()
	ua.keepers.running = true
	ua.keepers.adjust(ua, ua.trunks.all())
}

// Drain ends the registrations, so that carriers send their calls elsewhere, and
// asks no trunk whether it is there any more. It waits until that is done, for a
// few seconds at most.
func (ua *Agent) Drain() {
	ua.keepers.mu.Lock()
	ua.keepers.running = false
	ua.keepers.adjust(ua, nil)
	ua.keepers.mu.Unlock()
	ua.keepers.wg.Wait()
}

// adjust starts and stops keepers, so that there is one for each trunk as it is set
// now. None registers before all that are stopped have taken their registrations back,
// as that of the same account takes a new one with it. The caller holds k.mu.
func (k *keepers) adjust(ua *Agent, lines []line) {
	if !k.running {
		lines = nil
	}
	stays := map[string]*keeper{}
	for _, l := range lines {
		if old := k.of[l.Name]; old != nil && sameKept(old.trunk, l.Trunk) {
			stays[l.Name] = old
		}
	}
	k.leaving = slices.DeleteFunc(k.leaving, (*registration).isOver)
	for name, old := range k.of {
		if stays[name] != nil {
			continue
		}
		old.stop()
		if old.registration != nil {
			k.leaving = append(k.leaving, old.registration)
		}
	}
	k.of = stays
	for _, l := range lines {
		if k.of[l.Name] == nil {
			k.of[l.Name] = ua.startKeeper(l, slices.Clone(k.leaving))
		}
	}
}

// sameKept reports whether nothing that a keeper goes by is different.
func sameKept(a, b masking.Trunk) bool {
	kept := func(t masking.Trunk) masking.Trunk {
		return masking.Trunk{Name: t.Name, Targets: t.Targets, Transport: t.Transport,
			Auth: t.Auth, Register: t.Register, OptionsEvery: t.OptionsEvery}
	}
	return reflect.DeepEqual(kept(a), kept(b))
}

// startKeeper starts what a trunk needs; it registers when these are over.
func (ua *Agent) startKeeper(l line, before []*registration) *keeper {
	ctx, stop := context.WithCancel(context.Background())
	k := &keeper{trunk: l.Trunk, stop: stop}
	now := func() line { return ua.trunks.asKnown(l) }
	if l.Register.Domain != "" {
		k.registration = ua.newRegistration(l, now)
		ua.keepers.wg.Go(func() { k.registration.run(ctx, before) })
	}
	for _, w := range wantedOf(l.Trunk) {
		ua.keepers.wg.Go(func() { ua.follow(ctx, l, w) })
	}
	if l.OptionsEvery > 0 {
		ua.keepers.wg.Go(func() { ua.ping(ctx, l, now) })
	}
	return k
}

// moved says that the addresses of a trunk may be others now.
func (k *keepers) moved(name string) {
	k.mu.Lock()
	one := k.of[name]
	k.mu.Unlock()
	if one != nil && one.registration != nil {
		one.registration.lookAround()
	}
}

// ping asks each address of a trunk by OPTIONS whether it is there, now and then
// until ctx is done (RFC 3261 §11). Trunks that were set at once are not asked at once.
func (ua *Agent) ping(ctx context.Context, l line, now func() line) {
	wait := rand.N(min(l.OptionsEvery, time.Second))
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		var asked sync.WaitGroup
		for _, p := range now().places {
			asked.Go(func() { ua.pingOne(ctx, l, p) })
		}
		asked.Wait()
		wait = l.OptionsEvery*7/8 + rand.N(l.OptionsEvery/4)
	}
}

// pingOne asks one address.
func (ua *Agent) pingOne(ctx context.Context, l line, p place) {
	silence, cancel := context.WithTimeout(ctx, ua.o.Silence)
	defer cancel()
	to := p.target()
	req := outgoingOptions{peer: p.uri(), callID: newTag() + newTag(), tag: newTag(), contact: ua.contact(to)}.build()
	res, err := ua.await(silence, req, to, &question{ua: ua, wallet: ua.walletOf(line{}), next: func() uint32 { return 2 }})
	if ctx.Err() != nil {
		return
	}
	worked, after := false, time.Duration(0)
	if err == nil {
		worked, after = shown(res, false)
	}
	ua.trunks.state(l.Name).at(p).note(worked, toOptions, after, time.Now())
}
