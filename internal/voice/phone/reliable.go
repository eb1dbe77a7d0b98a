package phone

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/siptx"
)

// This file is RFC 3262: provisional responses that are acknowledged by PRACK. A
// caller acknowledges whatever requires it, and says himself in Invite.Headers whether
// he supports or requires it; a callee does it with Reply.Reliable.

const reliably = "100rel"

// extensions are what a request may require of a phone.
var extensions = []string{reliably, "timer"}

// strange is the first extension that a request requires and that a phone does not
// know, "" if there is none.
func strange(req *sip.Request) string {
	for _, h := range req.GetHeaders("Require") {
		for word := range strings.SplitSeq(h.Value(), ",") {
			word = strings.TrimSpace(word)
			if !slices.ContainsFunc(extensions, func(e string) bool { return strings.EqualFold(e, word) }) {
				return word
			}
		}
	}
	return ""
}

// lists reports whether a word stands in a header field that is a list.
func lists(m sip.Message, name, word string) bool {
	for _, h := range m.GetHeaders(name) {
		for w := range strings.SplitSeq(h.Value(), ",") {
			if strings.EqualFold(strings.TrimSpace(w), word) {
				return true
			}
		}
	}
	return false
}

// early is a dialog that provisional responses have made of our INVITE.
type early struct {
	dialog dialog
	number uint64 // RSeq of the last reliable response
	answer []byte // that one of them held
}

// acknowledge sends the PRACK for a reliable response. It reports whether the
// response is to be looked at: not if it has been before, nor if one before it is
// missing. The caller holds c.mu.
func (c *Call) acknowledge(res *sip.Response) bool {
	if !lists(res, "Require", reliably) {
		return true
	}
	tag := tagOf(res.To())
	e := c.early[tag]
	if e == nil {
		e = &early{dialog: c.dialog}
		e.dialog.confirm(res)
		c.early[tag] = e
	}
	var number uint64
	if h := res.GetHeader("RSeq"); h != nil {
		number, _ = strconv.ParseUint(h.Value(), 10, 32) // 0 if it is none
	}
	if number == 0 || e.number != 0 && number != e.number+1 {
		return false
	}
	e.number = number
	if e.answer == nil {
		e.answer = described(res, res.GetHeader)
	}
	req, to := e.dialog.request(sip.PRACK, e.dialog.next())
	req.AppendHeader(sip.NewHeader("RAck", fmt.Sprintf("%d %d INVITE", number, res.CSeq().SeqNo)))
	add(req, c.p.o.Headers)
	if _, err := c.p.layer.Request(req, to, func(siptx.Outcome) {}); err != nil {
		c.p.log.Debug("phone: PRACK not sent", "error", err)
	}
	return true
}

// resume gives what was agreed in the early dialog that a 2xx confirms, and goes on
// with its numbers. The caller holds c.mu.
func (c *Call) resume(res *sip.Response) (answer []byte) {
	if e := c.early[tagOf(res.To())]; e != nil {
		c.dialog.seq, answer = e.dialog.seq, e.answer
	}
	return answer
}

// reliable is what a callee says reliably.
type reliable struct {
	number    uint64
	open      chan struct{} // closed when the last one is acknowledged; nil = none waits
	described bool          // it holds a description
	agreed    bool          // one that holds a description is acknowledged
}

// ringReliably sends a provisional response until its PRACK comes; after 64*T1
// without, the call is refused. The caller holds c.mu.
func (c *Call) ringReliably(res *sip.Response) error {
	if c.reliable.open != nil || !lists(c.request, "Supported", reliably) && !lists(c.request, "Require", reliably) {
		return errState
	}
	c.reliable.number++
	open := make(chan struct{})
	c.reliable.open, c.reliable.described = open, len(res.Body()) > 0
	res.AppendHeader(sip.NewHeader("Require", reliably))
	res.AppendHeader(sip.NewHeader("RSeq", strconv.FormatUint(c.reliable.number, 10)))
	if err := c.server.Respond(res); err != nil {
		return err
	}
	c.p.spawn(func() { c.insist(res, open) })
	return nil
}

func (c *Call) insist(res *sip.Response, open <-chan struct{}) {
	interval := c.p.o.Timers.T1
	again, end := time.NewTimer(interval), time.NewTimer(64*interval)
	defer again.Stop()
	defer end.Stop()
	for {
		select {
		case <-open:
			return
		case <-c.done:
			return
		case <-again.C:
			c.mu.Lock()
			if c.phase == calling && c.reliable.open == open {
				c.p.respond(c.server, res)
			}
			c.mu.Unlock()
			interval *= 2
			again.Reset(interval)
		case <-end.C:
			_ = c.Reject(504, "") // answered or ended meanwhile
			return
		}
	}
}

// onPrack takes an acknowledgement. The caller holds c.mu.
func (c *Call) onPrack(tx *siptx.ServerTx, req *sip.Request) {
	h := req.GetHeader("RAck")
	if c.caller || c.reliable.open == nil || h == nil ||
		h.Value() != fmt.Sprintf("%d %d INVITE", c.reliable.number, c.request.CSeq().SeqNo) {
		c.answer(tx, req, 481)
		return
	}
	close(c.reliable.open)
	c.reliable.open = nil
	c.reliable.agreed = c.reliable.agreed || c.reliable.described
	c.answer(tx, req, 200)
	c.notify()
}

// Acknowledged waits until the PRACK for what we have rung reliably is there.
func (c *Call) Acknowledged(ctx context.Context) error {
	return c.await(ctx, func() (bool, error) {
		if c.phase == over {
			return false, c.failure()
		}
		return c.reliable.open == nil, nil
	})
}
