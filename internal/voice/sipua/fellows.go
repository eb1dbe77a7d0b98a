package sipua

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/siptx"
)

// This file is what the nodes on one database are to each other: who they are, and how
// one asks another whether it lives. Such a question is no trunk's: it names the node
// that is meant, and so does the answer, since another process may have the address by now.

// fellows are the other nodes, where they are reached.
type fellows struct {
	list atomic.Pointer[[]siptx.Target]
}

// SetFellows says where the other nodes on our database are reached. They may send us
// requests within dialogs, and ask us whether we are there.
func (ua *Agent) SetFellows(list []siptx.Target) { ua.fellows.list.Store(&list) }

// Fellows are those that SetFellows was told of.
func (ua *Agent) Fellows() []siptx.Target { return ua.fellows.all() }

func (f *fellows) all() []siptx.Target {
	if p := f.list.Load(); p != nil {
		return *p
	}
	return nil
}

func (f *fellows) knows(addr netip.Addr) bool {
	return slices.ContainsFunc(f.all(), func(t siptx.Target) bool { return t.Addr.Addr() == addr })
}

// AskNode asks another node, by OPTIONS (RFC 3261 §11), whether it is there. here is told
// once if it says so itself; nothing is told otherwise. It must not block. The question
// stays open, and is sent again as any, until it is answered or given up. With an error
// it was not asked.
func (ua *Agent) AskNode(id string, at siptx.Target, here func()) (giveUp func(), err error) {
	peer := sip.Uri{Scheme: "sip", User: id, Host: host(at.Addr.Addr()), Port: int(at.Addr.Port())}
	req := outgoingOptions{peer: peer, callID: newTag() + newTag(), tag: newTag(), contact: ua.contact(at)}.build()
	tx, err := ua.tx.Request(req, at, func(o siptx.Outcome) {
		if o.Err == nil && o.Res.StatusCode == 200 && o.Res.Contact() != nil && o.Res.Contact().Address.User == id {
			here()
		}
	})
	if err != nil {
		return nil, err
	}
	return tx.GiveUp, nil
}

// isAskedFor reports whether another node asks whether we are the one that it means. We
// are as long as we have sockets: they are opened when the calls of the last run are
// taken up, and closed when ours are over. So a node that drains is there as well.
func (ua *Agent) isAskedFor(req *sip.Request, from netip.Addr) bool {
	return ua.o.Node != "" && req.Recipient.User == ua.o.Node && ua.fellows.knows(from)
}

// named is our Contact with our name.
func (ua *Agent) named(peer siptx.Target) *sip.ContactHeader {
	c := ua.contact(peer)
	c.Address.User = ua.o.Node
	return c
}
