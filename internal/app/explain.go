package app

import (
	"context"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/callflow"
	"tandem/internal/voice/sipua"
)

// routing gives the control plane what the voice plane would do with a call: the
// Director's decision, the agent's ways out, and what the caller would hear.
type routing struct {
	director *callflow.Director
	agent    *sipua.Agent
}

// Explain rings nobody and counts nothing (control.Routing).
func (r routing) Explain(ctx context.Context, tenant masking.TenantID, a masking.Ask, pin masking.PIN) (masking.Explanation, error) {
	e, err := r.director.Explain(ctx, tenant, a, pin)
	if err != nil {
		return e, err
	}
	if e.Outcome() == masking.OutcomeRing {
		e.Ways = r.agent.WaysOut(a.Called)
	}
	e.Heard = heard(e)
	return e, nil
}

// heard is what b2bua lets a caller hear who is not connected.
func heard(e masking.Explanation) masking.Heard {
	switch why := e.Ruling.Refusal; {
	case why == "":
		return masking.Heard{}
	case e.PINJudged && why == masking.RefusedAllocationLimit:
		return masking.Heard{Sound: string(b2bua.ToneBusy)}
	case e.PINJudged && e.PINsLeft > 0:
		return masking.Heard{Sound: string(b2bua.SoundWrongPIN)}
	case e.PINJudged:
		return masking.Heard{Sound: string(b2bua.SoundPINFailed)}
	case e.Ruling.Then == masking.AskPIN:
		return masking.Heard{Sound: string(b2bua.SoundEnterPIN)}
	case e.Ruling.Then == masking.AskWebhook:
		return masking.Heard{}
	case e.Ruling.Then == masking.Announce:
		return masking.Heard{Sound: string(b2bua.SoundNotAvailable), Status: sipua.StatusOf(why)}
	default:
		return masking.Heard{Status: sipua.StatusOf(why)}
	}
}
