package demo

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"tandem/internal/voice/phone"
)

const (
	ringFor = time.Second      // before a phone is picked up
	talkFor = time.Minute      // of a call that nobody ends: a phone keeps all it hears
	volume  = 8000             // of 32767
	minimum = 3 * time.Second  // of audio that a side must have heard
	asking  = time.Second      // of the question, before the PIN interrupts it
	settle  = time.Second      // of what was heard last, less this, is compared
	callFor = 30 * time.Second // for a whole call of the demo
)

// A carrier is the telephone network of the demo. Whoever is called through it
// rings for a second, picks up and says his tone.
type carrier struct {
	phone *phone.Phone
	stop  chan struct{}

	mu      sync.Mutex
	waiting map[string]chan *phone.Call // by the number called
	onEnd   func(*phone.Call)           // told of each call that was picked up, at its end; nil for none
}

func newCarrier(log *slog.Logger) (*carrier, error) {
	c := &carrier{stop: make(chan struct{}), waiting: map[string]chan *phone.Call{}}
	var err error
	c.phone, err = phone.New(phone.Options{IP: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Log: log, OnCall: c.take})
	return c, err
}

func (c *carrier) addr() netip.AddrPort { return c.phone.Addr() }

func (c *carrier) close() error {
	close(c.stop)
	return c.phone.Close()
}

// next gives the next call for a number. It must be asked before that is made.
func (c *carrier) next(number string) <-chan *phone.Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := make(chan *phone.Call, 1)
	c.waiting[number] = calls
	return calls
}

// take is the life of an incoming call (phone.Options.OnCall).
func (c *carrier) take(call *phone.Call) {
	called := call.Seen().RequestUser
	c.mu.Lock()
	if waiting, ok := c.waiting[called]; ok {
		waiting <- call // has room for this one
		delete(c.waiting, called)
	}
	c.mu.Unlock()
	if call.Ring(phone.Reply{}) != nil || !c.pause(call, ringFor) {
		return
	}
	tone := partyB.hz
	if called == partyA.number {
		tone = partyA.hz
	}
	if call.Answer(phone.Reply{Audio: phone.Sine(tone, volume)}) != nil {
		return
	}
	if c.pause(call, talkFor) {
		ctx, cancel := context.WithTimeout(context.Background(), goodbye)
		defer cancel()
		_ = call.Hangup(ctx) // a far side that does not answer is gone as well
	}
	c.mu.Lock()
	onEnd := c.onEnd
	c.mu.Unlock()
	if onEnd != nil {
		onEnd(call)
	}
}

// tell has each call that was picked up told of, at its end, from now on.
func (c *carrier) tell(onEnd func(*phone.Call)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onEnd = onEnd
}

// pause waits; false if the call or the demo ends first.
func (c *carrier) pause(call *phone.Call, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-call.Done():
	case <-c.stop:
	}
	return false
}

// awaitAnswer sends OPTIONS until the server answers.
func (c *carrier) awaitAnswer(ctx context.Context, server netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	res, err := c.phone.Ask(ctx, phone.Outside{Request: phone.Request{Method: "OPTIONS"}, Via: server})
	if err != nil {
		return fmt.Errorf("the server does not answer the carrier: %w", err)
	}
	if res.Status != 200 {
		return fmt.Errorf("the server answers OPTIONS with %d", res.Status)
	}
	return nil
}
