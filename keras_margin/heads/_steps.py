"""The steps that a head's four ways share: checked input, the target and its margin, the sum of the loss."""

import dataclasses

from keras import ops
from keras.src.backend.common.symbolic_scope import in_symbolic_scope

from keras_margin import checks, engines, losses, notes, numerics
from keras_margin.heads import _loss
from keras_margin.heads._target import Note, Target


class LossSteps:
    """Base of MarginHead; works on its attributes and on what its subclasses say."""

    def _checked(self, embeddings, labels):
        """(embeddings, labels, valid): labels (batch,), and harmless values where `valid` is False."""
        name = type(self).__name__
        labels = checks.labels_as_indices(labels, name)
        valid = checks.valid_rows(embeddings, labels, self.num_classes, name)
        labels = ops.where(valid, labels, ops.zeros_like(labels))
        return ops.where(ops.expand_dims(valid, 1), embeddings, ops.zeros_like(embeddings)), labels, valid

    def _cosines(self, unit_embeddings, prototypes=None):
        prototypes = ops.convert_to_tensor(self.prototypes) if prototypes is None else prototypes
        cosines = engines.cosines(unit_embeddings, prototypes)
        # Rounding may carry a cosine past 1; the correction is constant, so no gradient is lost at the ends.
        return cosines + ops.stop_gradient(ops.clip(cosines, -1.0, 1.0) - cosines)

    def _bend_ahead(self, unit, norm, prototypes, labels, valid, training):
        """The other classes' Bend, which may ask for the target before the engine has run; no gradient."""
        own_prototype = ops.stop_gradient(engines.own_prototypes(unit, prototypes, labels))
        unit, norm = ops.stop_gradient(unit), ops.stop_gradient(norm)
        return self.others_bend(self._target(unit, norm, own_prototype, labels, valid, None, training))

    def _target(self, unit, norm, own_prototype, labels, valid, embeddings, training):
        """The batch's Target, its angle exact at every size, with the margin's answer."""
        own, _ = numerics.unit_normalize(own_prototype)
        cosine, theta = numerics.angle_between(unit, own)
        return self._bent(Target(cosine, theta, labels, valid, embeddings, norm), training)

    def _bent(self, target, training):
        if target.norm is None and self.needs_norm:
            self._refuse_bare_cosines(type(self).__name__, "each embedding's norm")
        if training:
            self.observe(target)
        psi = self.bend_target(target)
        if self.gradient == "straight_through":
            psi = numerics.with_slope(psi, target.cosine, ops.ones_like(target.cosine))
        return dataclasses.replace(target, psi=psi)

    def _scale_of(self, norm):
        if self.scale is not None:
            return ops.convert_to_tensor(self.scale, dtype="float32")
        if norm is None:
            self._refuse_bare_cosines(f"{type(self).__name__}(scale=None)", "each embedding's norm")
        return norm

    def _finish(self, target, log_negatives, training):
        """Cross-entropy plus what is added to it, (batch,); ends a training batch."""
        target_logit = self._scale_of(target.norm) * target.psi
        loss = ops.softplus(log_negatives - target_logit)
        added = self._added_loss(target, target_logit, log_negatives, training)
        if training:
            self.advance()
        return loss if added is None else loss + added

    def _added_loss(self, target, target_logit, log_negatives, training):
        """The head's own extra term and its regulariser's, (batch,), or None."""
        extra = self.extra_loss(target)
        if self.regularizer is None:
            return extra
        if target.embeddings is None and self.regularizer.needs_embeddings:
            self._refuse_bare_cosines(type(self.regularizer).__name__, "the embeddings")
        terms = losses.Terms(
            labels=target.labels,
            num_classes=self.num_classes,
            theta=target.theta,
            target_logit=target_logit,
            log_negatives=log_negatives,
            embeddings=target.embeddings,
            prototypes=self.prototypes,
            training=training,
            valid=target.valid,
        )
        added = self.regularizer(terms)
        return added if extra is None else added + extra

    def _note_about(self, cosines):
        """What this head noted when it made these cosines; an empty note if they are not its own."""
        note = notes.recall(cosines)
        name = type(self).__name__
        if note is not None:
            if note.has_margin:
                _loss.refuse_logits(self)
            self._awaits_loss = False
            return note
        if in_symbolic_scope():
            # Keras traces loss and model apart to learn shapes, never values; any embeddings serve.
            size = self.prototypes.shape[-1] if self.built else 1
            return Note(embeddings=ops.zeros((ops.shape(cosines)[0], size)))
        if self._awaits_loss:
            self._refuse_bare_cosines(name, "whether this is a training batch")
        return Note()

    def _refuse_bare_cosines(self, owner, missing):
        raise ValueError(
            f"{owner} needs {missing}, which cosines do not carry. Let head(embeddings) be the model's last output, as "
            "it is; use EmbeddingModel; or call head(embeddings, labels)."
        )
