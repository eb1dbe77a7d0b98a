package app

import (
	"tandem/internal/masking"
	"tandem/internal/voice/hep"
	"tandem/internal/voice/siptx"
)

// openExport starts the export to a HOMER collector if there is one. key is that of
// the numbers in logs: a pseudonym there is one here.
func (a *App) openExport(key []byte) (err error) {
	if a.o.Config.HEPTarget == "" {
		return nil
	}
	a.export, err = hep.Start(hep.Options{Target: a.o.Config.HEPTarget, ID: a.o.Config.HEPID,
		Password: a.o.Config.HEPPassword.Reveal(), Key: key, Log: a.log})
	if err == nil {
		a.onStop(a.export.Close)
	}
	return err
}

// exporting is what the SIP side tells of every message; nil = nothing.
func (a *App) exporting() func(siptx.Traced, masking.CallID) {
	if a.export == nil {
		return nil
	}
	return func(t siptx.Traced, call masking.CallID) {
		p := hep.Packet{At: t.At, Network: t.Network, From: t.Remote, To: t.Local, Raw: t.Raw, Call: string(call)}
		if t.Out {
			p.From, p.To = p.To, p.From
		}
		a.export.Offer(p)
	}
}
