package sipua

import (
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/sdp"
)

// This file is RFC 4028: a session lasts as long as it is refreshed, on each leg by
// itself. So a call whose other end is gone, or whose BYE was lost, ends although
// nobody tells it to.

const (
	sessionInterval = 1800 // s: what we ask for, and the most that we grant
	leastInterval   = 90   // s: the least that we grant; RFC 4028 §4 allows no less
)

// The refresher is named by its part in the request that agrees on it, which may be
// the other one next time (RFC 4028 §4).
const (
	byUAC = "uac"
	byUAS = "uas"
)

// terms are what a message says about its session.
type terms struct {
	supported bool
	interval  int    // s, 0 = none asked for, or granted
	refresher string // byUAC, byUAS or "" for whom the other side chooses
	least     int    // s, Min-SE
}

func termsOf(m interface {
	bearer
	header
}) terms {
	t := terms{supported: lists(m, "Supported", optionTimer) || lists(m, "Require", optionTimer), least: seconds(value(m, "Min-SE"))}
	delta, params, _ := strings.Cut(value(m, "Session-Expires"), ";")
	t.interval = seconds(delta)
	for param := range strings.SplitSeq(params, ";") {
		name, who, _ := strings.Cut(param, "=")
		if who = strings.ToLower(strings.TrimSpace(who)); strings.EqualFold(strings.TrimSpace(name), "refresher") && (who == byUAC || who == byUAS) {
			t.refresher = who
		}
	}
	return t
}

// brief reports whether a request asks for less than we grant: 422. Only who
// supports timers can be told so; what a proxy has asked for in the name of one who
// does not is not granted (RFC 4028 §9).
func (t terms) brief() bool { return t.supported && t.interval > 0 && t.interval < leastInterval }

// session is how the session of a leg is kept alive; the leg's mu guards it.
type session struct {
	interval  int  // s, 0 = it does not expire
	ours      bool // we refresh it
	least     int  // s, the highest Min-SE that the peer has shown us
	noUpdate  bool // the peer takes no UPDATE, whatever it says
	refreshes bool // a refresh of ours is under way, or waits for its turn
	setting   int  // which setting of the timers; the end of an earlier one is stale
	due, end  *time.Timer
	said      []byte // the description that we gave last: what a re-INVITE repeats
	theirs    string // and the sdp.Sum of that of the peer, in force
	offered   string // that of his offer which waits for the call; "" = none
}

// grant decides on a request that refreshes the session, or begins it, and what its
// 2xx says. Where the peer does not choose who refreshes: who asked for the timer;
// and within a call, who has done it so far.
func (s *session) grant(t terms) (interval int, refresher string) {
	if !t.supported && t.interval < leastInterval {
		return 0, ""
	}
	interval = sessionInterval
	if t.interval > 0 {
		interval = min(interval, t.interval)
	}
	interval = max(interval, t.least)
	switch {
	case !t.supported:
		return interval, byUAS
	case t.refresher != "":
		return interval, t.refresher
	case s.interval > 0 && s.ours, s.interval == 0 && t.interval == 0:
		return interval, byUAS
	}
	return interval, byUAC
}

// refresher is who refreshes, as a request of ours says it.
func (s *session) refresher() string {
	switch {
	case s.interval == 0:
		return ""
	case s.ours:
		return byUAC
	}
	return byUAS
}

// ask writes into a request of ours what it asks for; refresher is "" where the peer
// may choose (RFC 4028 §7.1).
func (s *session) ask(req *sip.Request, refresher string) {
	interval := itoa(max(s.interval, s.least))
	if s.interval == 0 {
		interval = itoa(max(sessionInterval, s.least))
	}
	if refresher != "" {
		interval += ";refresher=" + refresher
	}
	req.AppendHeader(sip.NewHeader("Session-Expires", interval))
	req.AppendHeader(sip.NewHeader("Min-SE", itoa(max(leastInterval, s.least))))
}

// renewed takes a request that begins or refreshes the session, which res, a 2xx of
// ours, agrees to. Before the answer to the INVITE there is no session yet.
func (l *leg) renewed(req *sip.Request, res *sip.Response) {
	t := termsOf(req)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.phase != answered && l.phase != talking {
		return
	}
	l.session.least = max(l.session.least, t.least)
	interval, refresher := l.session.grant(t)
	l.expireIn(interval, refresher == byUAS)
	if interval == 0 {
		return
	}
	res.AppendHeader(sip.NewHeader("Session-Expires", itoa(interval)+";refresher="+refresher))
	if t.supported { // RFC 4028 §9
		res.AppendHeader(sip.NewHeader("Require", optionTimer))
	}
}

// granted takes a 2xx to a request of ours; one that says nothing means that the
// session does not expire (RFC 4028 §7.2). The caller holds l.mu.
func (l *leg) granted(res *sip.Response) {
	t := termsOf(res)
	l.expireIn(t.interval, t.refresher != byUAS)
}

// expireIn sets the timers anew. A session that we refresh is refreshed at half its
// time; whoever does it, it is over a while before the peer would give it up (RFC
// 4028 §10). The caller holds l.mu.
func (l *leg) expireIn(interval int, ours bool) {
	s := &l.session
	s.stop()
	l.forgetRefresh()
	if interval == 0 {
		s.interval = 0
		return
	}
	s.interval, s.ours = max(interval, leastInterval), ours
	setting := s.setting
	whole := time.Duration(s.interval) * l.ua.o.Second
	s.end = time.AfterFunc(whole-min(32*l.ua.o.Second, whole/3), func() { l.expired(setting) })
	if ours {
		s.due = time.AfterFunc(whole/2, func() { l.refreshDue(setting) })
	}
}

// longer takes a 422. ok reports whether the same may be asked again, and change how:
// for as long as the peer wants it (RFC 4028 §7.3).
func (l *leg) longer(res *sip.Response) (change func(*sip.Request), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	least := seconds(value(res, "Min-SE"))
	if res.StatusCode != 422 || least <= l.session.least {
		return nil, false
	}
	l.session.least = least
	return func(req *sip.Request) {
		req.RemoveHeader("Session-Expires")
		req.RemoveHeader("Min-SE")
		l.mu.Lock()
		defer l.mu.Unlock()
		l.session.ask(req, l.session.refresher())
	}, true
}

// gave keeps a description that we have given.
func (l *leg) gave(body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if body != nil {
		l.session.said = body
	}
}

// forgetRefresh drops a refresh that waits for its turn. The caller holds l.mu.
func (l *leg) forgetRefresh() {
	l.due = slices.DeleteFunc(l.due, func(p *proposal) bool { return p.refresh })
}

// stop ends the present setting.
func (s *session) stop() {
	s.setting++
	s.refreshes = false
	for _, t := range []*time.Timer{s.due, s.end} {
		if t != nil {
			t.Stop()
		}
	}
	s.due, s.end = nil, nil
}

// expired ends a call whose session was not refreshed in time.
func (l *leg) expired(setting int) {
	l.mu.Lock()
	fits := l.session.setting == setting && (l.phase == answered || l.phase == talking)
	l.mu.Unlock()
	if fits {
		l.tell(b2bua.Event{Kind: b2bua.EvHungUp, Cause: masking.CauseSessionExpired})
		l.bye()
	}
}

// refreshDue sends our refresh: by UPDATE, which leaves the media alone, where the
// peer takes it, else by a re-INVITE that repeats our last description, so that its
// o= line tells that nothing has changed (RFC 4028 §7.4, RFC 3264 §8).
func (l *leg) refreshDue(setting int) {
	l.mu.Lock()
	s := &l.session
	if s.setting != setting || s.refreshes {
		l.mu.Unlock()
		return
	}
	s.refreshes = true
	p := &proposal{method: sip.INVITE, refresh: true, cause: masking.CauseSessionExpired}
	if l.dlg.updates && !s.noUpdate {
		p.method = sip.UPDATE
	}
	p.over = func(res *sip.Response, err error) { l.refreshed(setting, p.method, res, err) }
	l.mu.Unlock()
	l.propose(p)
}

// refreshed takes what a refresh has come to. One that was refused is made again,
// another way if it was an UPDATE, until the session is over; the timers of one that
// was agreed to are set already.
func (l *leg) refreshed(setting int, method sip.RequestMethod, res *sip.Response, err error) {
	l.mu.Lock()
	s := &l.session
	if s.setting != setting {
		news := l.news(res)
		l.mu.Unlock()
		if news != nil {
			l.tell(b2bua.Event{Kind: b2bua.EvOffered, Body: news})
		}
		return
	}
	s.refreshes = false
	wait := time.Duration(s.interval) * l.ua.o.Second / 16
	if method == sip.UPDATE && err == nil {
		s.noUpdate, wait = true, 0
	}
	s.due = time.AfterFunc(wait, func() { l.refreshDue(setting) })
	l.mu.Unlock()
}

// news is the description in the answer to a refresh if it is not the peer's last:
// he may move with it. The call hears of it as of an offer, and what it answers goes
// nowhere: the ACK has ended the exchange. The caller holds l.mu.
func (l *leg) news(res *sip.Response) []byte {
	if res == nil || res.StatusCode/100 != 2 || l.asked {
		return nil
	}
	body, _ := description(res)
	if body == nil || sdp.Sum(body) == l.session.theirs {
		return nil
	}
	l.session.theirs = sdp.Sum(body) // in force, whatever the call makes of it
	l.asked = true
	l.yield()
	return body
}
