"""Whose a target is, as far as our own rows tell: part of the lists that operators see."""

#: After a FROM whose rows have `target_kind` and `target_ref`: adds `o.project` and `o.user_key`, null where
#: nobody of ours is known to own it. A project owns its products and prices; they have no user.
OWNER_OF_TARGET = """
    LEFT JOIN LATERAL (
        SELECT user_key, project FROM stripe_customers
            WHERE target_kind = 'customer' AND stripe_customer_id = target_ref
        UNION ALL SELECT user_key, project FROM checkout_sessions
            WHERE target_kind = 'checkout.session' AND stripe_session_id = target_ref
        UNION ALL SELECT user_key, project FROM subscriptions
            WHERE target_kind = 'subscription' AND stripe_subscription_id = target_ref
        UNION ALL SELECT user_key, project FROM invoices
            WHERE target_kind = 'invoice' AND stripe_invoice_id = target_ref
        UNION ALL SELECT user_key, project FROM invoice_payments
            WHERE target_kind = 'invoice_payment' AND stripe_invoice_payment_id = target_ref
        UNION ALL SELECT user_key, project FROM payments
            WHERE target_kind = 'charge' AND stripe_charge_id = target_ref
        UNION ALL SELECT user_key, project FROM payments
            WHERE target_kind = 'payment_intent' AND payment_intent_id = target_ref
        UNION ALL SELECT user_key, project FROM refunds
            WHERE target_kind = 'refund' AND stripe_refund_id = target_ref
        UNION ALL SELECT user_key, project FROM disputes
            WHERE target_kind = 'dispute' AND stripe_dispute_id = target_ref
        UNION ALL SELECT NULL, project FROM stripe_products
            WHERE target_kind = 'product' AND stripe_products.product_id = target_ref
        UNION ALL SELECT NULL, project FROM stripe_prices
            WHERE target_kind = 'price' AND stripe_prices.price_id = target_ref
        LIMIT 1
    ) o ON true
"""

#: The other way: the targets of one user, (kind, id); `{user}` is its key.
TARGETS_OF_USER = """
    SELECT 'customer', stripe_customer_id FROM stripe_customers WHERE user_key = {user}
    UNION ALL SELECT 'checkout.session', stripe_session_id FROM checkout_sessions
        WHERE user_key = {user} AND stripe_session_id IS NOT NULL
    UNION ALL SELECT 'subscription', stripe_subscription_id FROM subscriptions WHERE user_key = {user}
    UNION ALL SELECT 'invoice', stripe_invoice_id FROM invoices WHERE user_key = {user}
    UNION ALL SELECT 'invoice_payment', stripe_invoice_payment_id FROM invoice_payments
        WHERE user_key = {user}
    UNION ALL SELECT 'charge', stripe_charge_id FROM payments WHERE user_key = {user}
    UNION ALL SELECT 'payment_intent', payment_intent_id FROM payments
        WHERE user_key = {user} AND payment_intent_id IS NOT NULL
    UNION ALL SELECT 'refund', stripe_refund_id FROM refunds WHERE user_key = {user}
    UNION ALL SELECT 'dispute', stripe_dispute_id FROM disputes WHERE user_key = {user}
"""
