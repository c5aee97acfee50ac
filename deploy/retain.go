package deploy

// arrange gives the list with the new deployment in it (D3): kept are the
// booted deployment, the merged one, pinned ones, those of other stateroots, and
// what the options say. The booted one, which is known to work, is the rollback
// of the new one.
func arrange(st *State, dep, merge *Deployment, o DeployOptions) []*Deployment {
	booted := st.Booted()
	crossover := booted
	if crossover == nil {
		crossover = merge
	}
	var list []*Deployment
	if !o.NotAsDefault {
		list = append(list, dep)
	}
	passed, added := false, !o.NotAsDefault
	for _, d := range st.Deployments {
		at := d.same(crossover)
		passed = passed || at
		keep := o.Retain || d.Pinned || d.Stateroot != dep.Stateroot || d.same(booted) || d.same(merge) ||
			o.RetainPending && !passed || o.RetainRollback && passed
		if keep {
			list = append(list, d.clone())
		}
		if at && !added {
			list, added = append(list, dep), true
		}
	}
	if !added {
		list = append(list, dep)
	}
	return list
}
