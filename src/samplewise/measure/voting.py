def _classes(answers, same):
    reps = []
    out = []
    for a in answers:
        if a is None:
            out.append(None)
            continue
        for i, r in enumerate(reps):
            if r == a or (same and same(r, a)):
                out.append(i)
                break
        else:
            out.append(len(reps))
            reps.append(a)
    return out


def majority(answers, same=None):
    return weighted(answers, [1.0] * len(answers), same)


def weighted(answers, scores, same=None):
    c = _classes(answers, same)
    tot = {}
    for k, s in zip(c, scores):
        if k is not None:
            tot[k] = tot.get(k, 0) + s
    if not tot:
        return None
    best = max(tot, key=lambda k: (tot[k], -k))
    return c.index(best)


def best_of(scores):
    return max(range(len(scores)), key=lambda i: (scores[i], -i)) if scores else None
