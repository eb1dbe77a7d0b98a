package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"tandem/internal/voice/phone"
	"tandem/test/world"
)

// crowded is how many enter a PIN on one number at once.
const crowded = 200

// visit is one caller's way to the one his PIN belongs to.
type visit struct {
	from, to string // who calls, and whom he has to reach
	pin      world.Pin
	how      phone.Way
	called   chan *phone.Call // that have reached to
}

// Of the callers some are one side of their pair, some the other, and some nobody
// that the pair knows; half tell their keys by INFO. While the PINs are entered all
// calls are up, and all are up again when all talk.
func TestAPINOpensItsOwnPairForEachOfACrowdAtOnce(t *testing.T) {
	visits, complete := map[string]*visit{}, make(chan struct{}) // by to
	st := newStage(t, setting{sharing: "shared", out: func(o *phone.Options) {
		o.OnCall = func(c *phone.Call) {
			<-complete
			if v := visits[c.Seen().RequestUser]; v == nil || c.Answer(phone.Reply{}) != nil {
				_ = c.Reject(404, "")
			} else {
				v.called <- c
			}
			<-c.Done()
		}
	}})
	for i := range crowded {
		v := st.visitor(i)
		visits[v.to] = v
	}
	close(complete)
	var asked, talking, all sync.WaitGroup
	asked.Add(crowded)
	talking.Add(crowded)
	for _, v := range visits {
		all.Go(func() {
			if err := st.visit(v, &asked, &talking); err != nil {
				t.Errorf("a visit by way %d: %v", v.how, err)
			}
		})
	}
	all.Wait()
	st.settle()
	st.visited(visits)
}

// visitor opens a pair and says who calls.
func (st *stage) visitor(i int) *visit {
	st.t.Helper()
	one, other := fmt.Sprintf("+9199000%05d", i), fmt.Sprintf("+9188000%05d", i)
	v := &visit{from: one, to: other, pin: st.pin(one, other, nil), called: make(chan *phone.Call, 8)}
	switch i % 4 {
	case 1:
		v.from, v.to = other, one
	case 2:
		v.from, v.to = fmt.Sprintf("+4420712%05d", i), one
	}
	if i/4%2 == 1 {
		v.how = phone.INFO
	}
	return v
}

// visit calls, enters the PIN when everybody is asked for one, and hangs up when
// everybody talks. However it ends, nobody waits for it.
func (st *stage) visit(v *visit, asked, talking *sync.WaitGroup) error {
	here, there := sync.OnceFunc(asked.Done), sync.OnceFunc(talking.Done)
	defer there()
	defer here()
	in := phone.Invite{From: v.from, To: virtual, Via: st.SIP(st.network)}
	if v.how == phone.INFO {
		in.Codecs = []string{"PCMA"}
	}
	a, err := st.in.Dial(st.ctx, in)
	if err != nil {
		return err
	}
	if err := a.Answered(st.ctx); err != nil {
		return fmt.Errorf("not asked: %w", err)
	}
	here()
	asked.Wait()
	if err := a.Press(st.ctx, v.pin.PIN, phone.Press{How: v.how}); err != nil {
		return fmt.Errorf("PIN: %w", err)
	}
	var b *phone.Call
	select {
	case b = <-v.called:
	case <-a.Done():
		return fmt.Errorf("hung up on before anybody was called")
	case <-st.ctx.Done():
		return st.ctx.Err()
	}
	if err := b.Answered(st.ctx); err != nil {
		return fmt.Errorf("callee: %w", err)
	}
	there()
	talking.Wait()
	if seen := b.Seen(); seen.From != virtual || b.Digits() != "" || len(v.called) > 0 {
		return fmt.Errorf("the callee was shown %s, %d keys and %d further calls", seen.From, len(b.Digits()), len(v.called))
	}
	if err := a.Hangup(st.ctx); err != nil {
		return err
	}
	_, err = b.Ended(st.ctx)
	return err
}

// visited holds the records against the visits.
func (st *stage) visited(visits map[string]*visit) {
	st.t.Helper()
	calls, err := st.Calls("acme")
	st.must(err)
	if len(calls) != len(visits) {
		st.t.Errorf("%d records of %d visits", len(calls), len(visits))
	}
	var pins []string
	for _, c := range calls {
		v := visits[c.To]
		if v == nil || c.From != v.from || c.Pin != v.pin.ID || c.Cause != "caller_hung_up" {
			st.t.Errorf("record %+v", c)
		} else {
			pins = append(pins, v.pin.PIN)
		}
	}
	digits := regexp.MustCompile(`\b(` + strings.Join(pins, "|") + `)\b`)
	for line := range strings.Lines(st.Log.String()) {
		var fields map[string]any
		st.must(json.Unmarshal([]byte(line), &fields))
		delete(fields, "time")
		for name, value := range fields {
			if text, ok := value.(string); ok && digits.MatchString(text) {
				st.t.Errorf("a PIN stands in the log, as %s", name)
			}
		}
	}
}
