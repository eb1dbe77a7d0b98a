package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"tandem/internal/client"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/sdp"
)

// kills is how often the server dies at a random moment of calls. What holds for every
// moment is shown by more than a change can wait for: -kills 200 -timeout 1h.
var kills = flag.Int("kills", 20, "how often the server is killed at a random moment of calls")

// numbers of the pool that writers fight for; two in three are shared.
const pool = 60

func poolNumber(i int) string { return fmt.Sprintf("+91400001%04d", i) }

func isShared(number string) bool { return (number[len(number)-1]-'0')%3 != 0 }

// promise is what a writer was told of one allocation, and what it has asked for
// without an answer.
type promise struct {
	id      string // "" if the answer to its creation never came
	parties [3]string
	now     []string // where it may be; one number unless a move was not answered
	touched []string // all numbers that it has been asked to be on
	deleted bool
	perhaps bool // deletion was asked for and not answered
}

// acknowledgedOutlivesKill lets 16 clients create, move and delete allocations,
// kills the server at a random moment, and holds what it knows after its restart
// against what it has promised.
func acknowledgedOutlivesKill(t *testing.T, s *site) {
	p := s.start()
	var numbers []client.NewNumber
	for i := range pool {
		n := client.NewNumber{Number: poolNumber(i), Sharing: "exclusive"}
		if isShared(n.Number) {
			n.Sharing = "shared"
		}
		numbers = append(numbers, n)
	}
	_, err := s.api.AddNumbers(s.ctx, "acme", numbers)
	s.must(err)
	for round := range 6 {
		promises := s.writeUntilKilled(p, round, time.Duration(20+rand.IntN(150))*time.Millisecond)
		p = s.start()
		s.keeps(promises)
		if t.Failed() {
			return
		}
	}
}

// writeUntilKilled runs the clients and kills the server after a while.
func (s *site) writeUntilKilled(p *process, round int, after time.Duration) []promise {
	s.t.Helper()
	var wg sync.WaitGroup
	promises := make([][]promise, 16)
	for w := range promises {
		wg.Go(func() { promises[w] = s.write(round*len(promises) + w) })
	}
	timer := time.NewTimer(after) // that moment is what the test is about
	<-timer.C
	p.kill()
	wg.Wait()
	all := slices.Concat(promises...)
	unanswered := 0
	for _, pr := range all {
		if pr.id == "" || pr.perhaps || len(pr.now) > 1 {
			unanswered++
		}
	}
	s.t.Logf("killed after %v: %d allocations asked for, %d of the clients without an answer", after, len(all), unanswered)
	if len(all) == 0 {
		s.t.Error("nothing was written before the kill")
	}
	return all
}

// write creates, moves and deletes until the server does not answer.
func (s *site) write(writer int) []promise {
	var made []promise
	for i := range 1000 {
		number := poolNumber(rand.IntN(pool))
		pr := promise{now: []string{number}, touched: []string{number}}
		for k := range pr.parties {
			pr.parties[k] = fmt.Sprintf("+9177%02d%03d%03d", k, writer, i)
		}
		a, err := s.api.CreateAllocation(s.ctx, "acme", client.NewAllocation{CallerIDNumber: number, From: pr.parties[:1], To: pr.parties[1:]})
		if s.refused(err) {
			continue
		}
		pr.id = a.GreenVNID
		if err == nil && i%3 == 0 {
			err = s.move(&pr)
		}
		if err == nil && i%4 == 1 {
			_, err = s.api.DeleteAllocation(s.ctx, "acme", pr.id, false)
			pr.deleted, pr.perhaps = err == nil, err != nil
		}
		made = append(made, pr)
		if err != nil {
			break
		}
	}
	return made
}

func (s *site) move(pr *promise) error {
	next := poolNumber(rand.IntN(pool))
	_, err := s.api.UpdateNumber(s.ctx, "acme", pr.id, next)
	if s.refused(err) {
		return nil
	}
	pr.touched = append(pr.touched, next)
	pr.now = append(pr.now, next)
	if err == nil {
		pr.now = pr.now[1:]
	}
	return err
}

// refused tells a 409 from a server that does not answer. Nothing else may come.
func (s *site) refused(err error) bool {
	var problem *client.Error
	if !errors.As(err, &problem) {
		return false
	}
	if problem.Status != 409 {
		s.t.Errorf("a client got %d: %v", problem.Status, err)
	}
	return true
}

// keeps holds the store against the promises, with as many clients.
func (s *site) keeps(promises []promise) {
	s.t.Helper()
	holders := map[string]string{} // of exclusive numbers
	for _, a := range s.active() {
		if len(a.From) == 0 || len(a.To) == 0 {
			s.t.Errorf("allocation %s has lost its parties: %v, %v", a.GreenVNID, a.From, a.To)
		}
		if other, taken := holders[a.VirtualNumber]; taken && !isShared(a.VirtualNumber) {
			s.t.Errorf("%s and %s are both on an exclusive number", other, a.GreenVNID)
		}
		holders[a.VirtualNumber] = a.GreenVNID
	}
	var wg sync.WaitGroup
	for part := range slices.Chunk(promises, max(1, (len(promises)+15)/16)) {
		wg.Go(func() {
			for _, pr := range part {
				s.keepsOne(pr)
			}
		})
	}
	wg.Wait()
	for i := range pool {
		if n := poolNumber(i); !isShared(n) {
			_, held := holders[n]
			s.claimed(n, [2]string{"+917800000001", "+917800000002"}, held)
		}
	}
}

func (s *site) active() []client.Allocation {
	s.t.Helper()
	var all []client.Allocation
	for cursor := ""; ; {
		page, err := s.api.Allocations(s.ctx, "acme", client.AllocationFilter{Status: "active", Page: client.Page{Limit: 100, Cursor: cursor}})
		s.must(err)
		all = append(all, page.Items...)
		if cursor = page.NextCursor; cursor == "" {
			return all
		}
	}
}

// keepsOne checks one allocation, and that on every shared number that it was
// ever to be on its parties are taken if it is there, and free if it is not.
func (s *site) keepsOne(pr promise) {
	a, found := s.find(pr)
	where := ""
	switch {
	case !found && pr.id != "":
		s.t.Errorf("the acknowledged allocation %s is gone", pr.id)
	case !found:
	case a.From[0] != pr.parties[0] || !slices.Equal(a.To, pr.parties[1:]):
		s.t.Errorf("allocation %s has other parties", a.GreenVNID)
	case !slices.Contains(pr.now, a.VirtualNumber):
		s.t.Errorf("allocation %s is on %s, not on %v", a.GreenVNID, a.VirtualNumber, pr.now)
	case a.Status == "active" && pr.deleted, a.Status != "active" && !pr.deleted && !pr.perhaps:
		s.t.Errorf("allocation %s is %s; deleted: %v", a.GreenVNID, a.Status, pr.deleted)
	case a.Status == "active":
		where = a.VirtualNumber
	}
	slices.Sort(pr.touched)
	for _, n := range slices.Compact(pr.touched) {
		if !isShared(n) {
			continue // keeps looks at each of these
		}
		for k, party := range pr.parties {
			s.claimed(n, [2]string{party, fmt.Sprintf("+9179%02d%s", k, party[len(party)-6:])}, n == where)
		}
	}
}

// find reads an allocation by its id or, if that was never told, by a party.
func (s *site) find(pr promise) (client.Allocation, bool) {
	if pr.id != "" {
		a, err := s.api.Allocation(s.ctx, "acme", pr.id)
		return a, err == nil
	}
	page, err := s.api.Allocations(s.ctx, "acme", client.AllocationFilter{Party: pr.parties[0]})
	if err != nil || len(page.Items) > 1 {
		s.t.Errorf("%d allocations of one creation (%v)", len(page.Items), err)
	}
	if err != nil || len(page.Items) == 0 {
		return client.Allocation{}, false
	}
	return page.Items[0], true
}

// claimed tries to allocate a number to people and compares whether it is refused.
// What it gets it gives back.
func (s *site) claimed(number string, people [2]string, want bool) {
	a, err := s.api.CreateAllocation(s.ctx, "acme", client.NewAllocation{CallerIDNumber: number, From: people[:1], To: people[1:]})
	var problem *client.Error
	taken := errors.As(err, &problem) && problem.Status == 409
	switch {
	case err != nil && !taken:
		s.t.Errorf("a number cannot be tried: %v", err)
	case taken != want:
		s.t.Errorf("%s is taken: %v, want %v (%v)", number, taken, want, err)
	}
	if err == nil {
		if _, err := s.api.DeleteAllocation(s.ctx, "acme", a.GreenVNID, false); err != nil {
			s.t.Error(err)
		}
	}
}

// cutCallsAreClosedOnce kills the server with calls that talk, ring and wait for
// the callee's carrier, and then at random moments while calls begin and end. Those
// that talk go on until they are hung up.
func cutCallsAreClosedOnce(t *testing.T, s *site) {
	p := s.start()
	s.stay(p)
	c := s.connect(p)
	var callers []string
	for i := range 12 {
		callers = append(callers, c.pair(i))
	}
	for i, caller := range callers {
		c.dial(p, caller, nil)
		b := c.called()
		if i%3 > 0 {
			s.must(b.Ring(phone.Reply{}))
		}
		if i%3 > 1 {
			s.must(b.Answer(phone.Reply{}))
			s.must(b.Answered(s.ctx))
		}
	}
	s.wait("all calls to be written down", func() bool {
		return len(s.calls()) == len(callers) && s.told("call.ringing") == 8 && s.told("call.answered") == 4
	})
	p.kill()
	p = c.restart(s.start())
	s.ended(map[string]int{"node_lost": 8, "shutdown": 4})

	for range *kills {
		after := time.Duration(rand.IntN(150)) * time.Millisecond
		before := len(s.calls())
		ctx, cancel := context.WithTimeout(s.ctx, after)
		c.churn(ctx, p, callers)
		p.kill()
		cancel()
		c.hangUpAll(s.start())
		// Whoever has just dialled would go on sending his INVITE, to the next server.
		s.must(c.in.Close())
		c.in = c.phone(netip.MustParseAddr("127.0.0.4"), sdp.Plain)
		p = s.start()
		causes := s.closedOnce()
		t.Logf("killed after %v of calls: %d more records, causes so far %v", after, len(s.calls())-before, causes)
	}
	events := len(s.events())
	p.kill()
	s.start()
	if again := len(s.events()); again != events {
		t.Errorf("%d events, and %d after one more restart", events, again)
	}
}

// churn lets callers call again and again, and callees ring and answer as they
// like, until ctx is done; then it leaves everything as it is.
func (c *carriers) churn(ctx context.Context, p *process, callers []string) {
	var wg sync.WaitGroup
	for _, caller := range callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				call, err := c.in.Dial(ctx, phone.Invite{From: caller, To: virtual, Via: p.sip()})
				if err != nil || call.Answered(ctx) != nil || rand.IntN(3) == 0 {
					return
				}
				_ = call.Hangup(ctx) // may be cut short
			}
		})
	}
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case b := <-c.incoming:
					if rand.IntN(4) > 0 {
						_ = b.Ring(phone.Reply{}) // may be cancelled by now
					}
					if rand.IntN(4) > 0 {
						_ = b.Answer(phone.Reply{}) // likewise
					}
				case <-ctx.Done():
					return
				}
			}
		})
	}
	wg.Wait()
}
