package sipua

import (
	"slices"
	"strconv"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

// This file is about the dialogs that provisional responses make of an INVITE of
// ours, each with numbers of its own (RFC 3261 §12.1, RFC 3262 §4).

// earlyDialog is one of them.
type earlyDialog struct {
	dlg    dialog
	number uint32 // RSeq of the last reliable response, 0 = there was none
	answer []byte // the description that a reliable response has agreed
	invite uint32 // CSeq of the INVITE that made it: sent again, it begins anew
}

// maxForks bounds the dialogs of one INVITE, early or answered, that a leg remembers.
const maxForks = 16

// earlyDialog finds one by the peer's tag, nil if there is none. The caller holds l.mu.
func (l *leg) earlyDialog(tag string) *earlyDialog {
	i := slices.IndexFunc(l.early, func(e earlyDialog) bool { return e.dlg.remoteTag == tag })
	if i < 0 {
		return nil
	}
	return &l.early[i]
}

// enter finds the early dialog of a provisional response, made if it is new; nil if
// it is of none. The caller holds l.mu.
func (l *leg) enter(res *sip.Response) *earlyDialog {
	tag := tagOf(res.To().Params)
	if res.StatusCode == 100 || tag == "" {
		return nil
	}
	if len(l.early) > 0 && l.early[0].invite != res.CSeq().SeqNo {
		l.early = nil
	}
	e := l.earlyDialog(tag)
	if e == nil && len(l.early) < maxForks {
		d := l.dlg
		d.confirm(res)
		l.early = append(l.early, earlyDialog{dlg: d, invite: res.CSeq().SeqNo})
		e = &l.early[len(l.early)-1]
	}
	return e
}

// onProvisional: any 18x means that the far side is at work on its phone. What it
// says or plays meanwhile is not passed on. A reliable one is
// acknowledged in its dialog, each once: siptx repeats the PRACK until it is
// answered, so that one which comes again needs no other (RFC 3262 §4).
func (l *leg) onProvisional(res *sip.Response) {
	rings := res.StatusCode >= 180 && res.StatusCode < 190
	l.mu.Lock()
	e := l.enter(res)
	var prack *sip.Request
	var hop siptx.Target
	if number, reliable := rseqOf(res); reliable {
		if e == nil || !e.follows(number) {
			l.mu.Unlock()
			return
		}
		prack, hop = e.acknowledge(res, number), e.dlg.hop(l.ours)
	}
	fits := rings && l.phase == early && !l.rang
	l.rang = l.rang || rings
	l.mu.Unlock()
	if prack != nil {
		l.sendPrack(prack, hop)
	}
	if fits {
		l.tell(b2bua.Event{Kind: b2bua.EvRinging})
	}
}

// rseqOf is the RSeq of a response that is reliable.
func rseqOf(res *sip.Response) (number uint32, reliable bool) {
	if res.StatusCode == 100 || !lists(res, "Require", optionReliable) {
		return 0, false
	}
	n, err := strconv.ParseUint(value(res, "RSeq"), 10, 32)
	return uint32(n), err == nil && n > 0
}

// follows reports whether a reliable response is the next one. One that has come
// already and one before which another is missing are dropped; the missing one will
// be sent again, and so will this.
func (e *earlyDialog) follows(number uint32) bool { return e.number == 0 || number == e.number+1 }

// acknowledge takes a reliable response in and makes its PRACK. The first
// description in one is the answer to our offer, whatever follows (RFC 3261 §13.2.1).
func (e *earlyDialog) acknowledge(res *sip.Response, number uint32) *sip.Request {
	switch {
	case !reachable(res.Contact()):
	case e.number == 0: // what made the dialog may have been a 180 with half of its header
		e.dlg.confirm(res)
	default: // RFC 3261 §12.2.1.2: the target of a dialog may move
		e.dlg.target = res.Contact().Address
	}
	e.number = number
	if body, _ := description(res); e.answer == nil {
		e.answer = body
	}
	e.dlg.seq++
	req := e.dlg.within(sip.PRACK, e.dlg.seq)
	req.AppendHeader(sip.NewHeader("RAck", strconv.FormatUint(uint64(number), 10)+" "+
		strconv.FormatUint(uint64(res.CSeq().SeqNo), 10)+" INVITE"))
	return req
}

// sendPrack acknowledges a reliable response. What the PRACK comes to does not
// matter: the INVITE has its own end.
func (l *leg) sendPrack(req *sip.Request, hop siptx.Target) {
	q := &question{ua: l.ua, wallet: l.wallet, to: hop, on: func(siptx.Outcome) {}}
	tag := tagOf(req.To().Params)
	q.next = func() uint32 { return l.nextEarlySeq(tag) }
	if err := q.ask(req); err != nil {
		l.log.Debug("prack not sent", "error", err.Error())
	}
}

// nextEarlySeq takes the next CSeq of an early dialog, or of the one that has come of it.
func (l *leg) nextEarlySeq(tag string) uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := &l.dlg
	if e := l.earlyDialog(tag); e != nil && (l.made == nil || l.made.remoteTag != tag) {
		d = &e.dlg
	}
	d.seq++
	return d.seq
}

// retarget takes the target that an UPDATE gives to its early dialog.
func (l *leg) retarget(req *sip.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.earlyDialog(tagOf(req.From().Params)); e != nil && reachable(req.Contact()) {
		e.dlg.target = req.Contact().Address
	}
}

// agreedEarly reports whether our offer has been answered in an early dialog.
func (l *leg) agreedEarly(tag string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.earlyDialog(tag)
	return e != nil && e.answer != nil
}
