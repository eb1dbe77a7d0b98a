package sipua

import (
	"crypto/rand"
	"sync"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/digest"
	"tandem/internal/voice/siptx"
)

// This file is the way out of every request that a trunk may challenge, which is
// every request of ours but ACK and CANCEL (RFC 3261 §22.1).

// wallet holds what the requests of one dialog, or of one registration, answer
// challenges with. A nonce that was taken once is shown again without being asked
// for (§22.3), until its maker says that it is stale.
type wallet struct {
	realm   string                        // the only one that is answered; "" = any
	account func() (digest.Account, bool) // false: there is none

	mu       sync.Mutex
	sessions []held
}

// held is one realm's session. Of a realm a proxy asks for one thing, a server for
// another (§22.2, §22.3).
type held struct {
	proxy   bool
	session *digest.Session
}

// maxRealms bounds what one dialog keeps: a carrier's proxies and his switch.
const maxRealms = 4

// walletOf is a wallet for a trunk's account.
func (ua *Agent) walletOf(l line) *wallet {
	return &wallet{realm: l.Auth.Realm, account: func() (digest.Account, bool) {
		if l.Auth.Username == "" || ua.o.Password == nil {
			return digest.Account{}, false
		}
		password, err := ua.o.Password(l.Trunk)
		if err != nil {
			ua.o.Log.Error("a trunk's password cannot be read", "trunk", l.Name, "error", err.Error())
		}
		return digest.Account{Username: l.Auth.Username, Password: password}, err == nil
	}}
}

// show puts credentials into a request for every realm that has asked for some.
func (w *wallet) show(req *sip.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for req.RemoveHeader("Authorization") || req.RemoveHeader("Proxy-Authorization") {
	}
	if len(w.sessions) == 0 {
		return
	}
	account, ok := w.account()
	if !ok {
		return
	}
	for _, h := range w.sessions {
		name := "Authorization"
		if h.proxy {
			name = "Proxy-Authorization"
		}
		req.AppendHeader(sip.NewHeader(name, h.session.Answer(account, string(req.Method), req.Recipient.String())))
	}
}

// take keeps the challenges of a 401 or 407, of each realm the one with the best
// algorithm. It gives those that can be answered.
func (w *wallet) take(res *sip.Response) (fresh []digest.Challenge) {
	if _, ok := w.account(); !ok {
		return nil
	}
	proxy, name := res.StatusCode == 407, "WWW-Authenticate"
	if proxy {
		name = "Proxy-Authenticate"
	}
	for _, h := range res.GetHeaders(name) {
		c, ok := digest.ParseChallenge(h.Value())
		if !ok || w.realm != "" && c.Realm != w.realm {
			continue
		}
		known := false
		for i := range fresh {
			if fresh[i].Realm == c.Realm {
				known = true
				if c.Better(fresh[i]) {
					fresh[i] = c
				}
			}
		}
		if !known && len(fresh) < maxRealms {
			fresh = append(fresh, c)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range fresh {
		w.keep(held{proxy, digest.NewSession(c, rand.Text())})
	}
	return fresh
}

// keep puts a session in the place of the realm's last. The caller holds w.mu.
func (w *wallet) keep(h held) {
	for i, old := range w.sessions {
		if old.proxy == h.proxy && old.session.Realm() == h.session.Realm() {
			w.sessions[i] = h
			return
		}
	}
	if len(w.sessions) < maxRealms {
		w.sessions = append(w.sessions, h)
	}
}

// forget drops what a refused account was shown to.
func (w *wallet) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sessions = nil
}

// question is a request of ours that is sent again, with credentials, when it is
// challenged.
type question struct {
	ua     *Agent
	wallet *wallet
	to     siptx.Target
	next   func() uint32                                  // the CSeq of a repetition
	longer func(*sip.Response) (func(*sip.Request), bool) // what a 422 asks for; nil = nothing
	heard  func()                                         // a response has come, be it one that is answered; nil = does not matter
	on     func(siptx.Outcome)

	mu        sync.Mutex
	req       *sip.Request // as it was sent last
	client    *siptx.ClientTx
	again     int             // how often it was repeated
	answered  map[string]bool // realms that were answered already, with the kind of challenge
	cancelled bool
}

// maxRepeats bounds the repetitions of one request: one for a proxy's challenge, one
// for the server's, one for a nonce that got stale meanwhile or for a 422.
const maxRepeats = 3

// ask sends a request. What comes back is told as siptx tells it, but for the
// challenges that could be answered.
func (q *question) ask(req *sip.Request) error {
	q.wallet.show(req)
	q.req = req
	client, err := q.ua.tx.Request(req, q.to, q.outcome)
	if err == nil {
		q.sent(client)
	}
	return err
}

// sent keeps the transaction that a Cancel is for.
func (q *question) sent(client *siptx.ClientTx) {
	q.mu.Lock()
	if q.client == nil || client.Request() == q.req { // a challenge may have been answered already
		q.client = client
	}
	cancelled := q.cancelled
	q.mu.Unlock()
	if cancelled {
		q.drop(client)
	}
}

func (q *question) drop(client *siptx.ClientTx) {
	if err := client.Cancel(); err != nil {
		q.ua.o.Log.Debug("cancel not sent", "error", err.Error())
	}
}

// Cancel gives an INVITE up that has no final response; siptx holds the CANCEL back
// until a provisional one has come (RFC 3261 §9.1), and ends the transaction if
// none ever does. A challenge that comes now is not answered.
func (q *question) Cancel() {
	q.mu.Lock()
	q.cancelled = true
	client := q.client
	q.mu.Unlock()
	if client != nil {
		q.drop(client)
	}
}

func (q *question) outcome(o siptx.Outcome) {
	if o.Err == nil && q.heard != nil {
		q.heard()
	}
	switch {
	case o.Err != nil:
	case o.Res.StatusCode == 401, o.Res.StatusCode == 407:
		if q.authenticate(o.Res) {
			return
		}
	case q.longer != nil:
		if change, ok := q.longer(o.Res); ok && q.repeat(change) {
			return
		}
	}
	q.on(o)
}

// authenticate answers a challenge; false if it cannot be answered, so that the refusal
// stands. A realm that has had its answer and asks again has refused it, unless it
// says that only the nonce was too old.
func (q *question) authenticate(res *sip.Response) bool {
	fresh := q.wallet.take(res)
	q.mu.Lock()
	worth := false
	for _, c := range fresh {
		key := itoa(res.StatusCode) + c.Realm
		worth = worth || c.Stale || !q.answered[key]
		if q.answered == nil {
			q.answered = map[string]bool{}
		}
		q.answered[key] = true
	}
	q.mu.Unlock()
	if !worth {
		if len(fresh) > 0 {
			q.wallet.forget()
		}
		return false
	}
	return q.repeat(func(*sip.Request) {})
}

// repeat sends the request again, changed, unless it was given up or has been
// repeated too often.
func (q *question) repeat(change func(*sip.Request)) bool {
	q.mu.Lock()
	q.again++
	if q.cancelled || q.again > maxRepeats {
		q.mu.Unlock()
		return false
	}
	req := q.req.Clone()
	q.mu.Unlock()

	change(req)
	req.ReplaceHeader(&sip.CSeqHeader{SeqNo: q.next(), MethodName: req.Method})
	q.wallet.show(req)
	q.mu.Lock()
	q.req = req
	q.mu.Unlock()
	client, err := q.ua.tx.Request(req, q.to, q.outcome)
	if err != nil {
		q.on(siptx.Outcome{Err: err})
		return true
	}
	q.sent(client)
	return true
}

// ask sends a request of this leg's dialog. on is told as by siptx.
func (l *leg) ask(req *sip.Request, to siptx.Target, on func(siptx.Outcome)) (*question, error) {
	q := &question{ua: l.ua, wallet: l.wallet, to: to, next: l.nextSeq, longer: l.longer, heard: l.responded, on: on}
	return q, q.ask(req)
}

// nextSeq takes the next CSeq of the dialog.
func (l *leg) nextSeq() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dlg.seq++
	return l.dlg.seq
}
